//! `anyOf`, `oneOf`, `allOf` and `not`.

use serde_json::Value;

use super::node::{Id, Logic, View};
use super::trail::Trail;
use super::validate::check as check_value;
use crate::field::{FieldError, FieldPath};

/// Checks the junctors of one node, in the order in which the API server reports them.
pub(super) fn check(
    view: View<'_>,
    logic: &Logic,
    value: &Value,
    trail: &Trail<'_>,
    errors: &mut Vec<FieldError>,
) {
    let judge = |id: &Id| {
        let mut found = Vec::new();
        check_value(view.at(*id), value, None, trail, &mut found);
        found
    };
    if !logic.any_of.is_empty() {
        let best = nearest(logic.any_of.iter().map(judge));
        if !best.is_empty() {
            errors.push(whole(trail, "must validate at least one schema (anyOf)"));
            errors.extend(best);
        }
    }
    if !logic.one_of.is_empty() {
        let results: Vec<_> = logic.one_of.iter().map(judge).collect();
        let valid = results.iter().filter(|r| r.is_empty()).count();
        if valid != 1 {
            let found = match valid {
                0 => "Found none valid".to_owned(),
                n => format!("Found {n} valid alternatives"),
            };
            let what = format!("must validate one and only one schema (oneOf). {found}");
            errors.push(whole(trail, &what));
            errors.extend(nearest(results.into_iter()));
        }
    }
    if !logic.all_of.is_empty() {
        let results: Vec<_> = logic.all_of.iter().map(judge).collect();
        let valid = results.iter().filter(|r| r.is_empty()).count();
        errors.extend(results.into_iter().flatten());
        if valid == 0 {
            errors.push(whole(trail, "must validate all the schemas (allOf). None validated"));
        } else if valid < logic.all_of.len() {
            errors.push(whole(trail, "must validate all the schemas (allOf)"));
        }
    }
    if let Some(not) = &logic.not
        && judge(not).is_empty()
    {
        errors.push(whole(trail, "must not validate the schema (not)"));
    }
}

/// The errors of the branch that came nearest: none if a branch is valid.
fn nearest(results: impl Iterator<Item = Vec<FieldError>>) -> Vec<FieldError> {
    results.min_by_key(Vec::len).unwrap_or_default()
}

fn whole(trail: &Trail<'_>, what: &str) -> FieldError {
    // The API server reports these without a field: the path is in the text only.
    FieldError::invalid(&FieldPath::root(), "", format!("{:?} {what}", trail.dotted()))
}
