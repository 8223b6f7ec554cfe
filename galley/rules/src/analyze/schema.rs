//! What validation of each object by itself says.

use super::messages::{SCHEMA_VALIDATION_ERROR, SCHEMA_WARNING};
use super::world::World;
use crate::report::{Diagnostic, Level, Report};
use crate::validate::{Finding, validate};

/// Level of warnings that have a code of their own: an ineffective match is harmless.
fn own_level(finding: &Finding) -> Option<Diagnostic> {
    let code = finding.code?;
    let level = if code.0 == 131 { Level::Info } else { Level::Warning };
    let origin = crate::report::Origin {
        kind: String::new(),
        namespace: String::new(),
        name: String::new(),
    };
    Some(Diagnostic::new(level, code, origin, finding.message.clone()))
}

/// Errors and warnings of validation.
pub(super) fn validation(world: &World, report: &mut Report) {
    for object in world.iter() {
        let Some(verdict) = validate(&object.value) else { continue };
        for finding in &verdict.errors {
            let text = format!("Schema validation error: {finding}");
            report.add(SCHEMA_VALIDATION_ERROR.about(&object.origin, text).at(&finding.path));
        }
        for finding in &verdict.warnings {
            let message = match own_level(finding) {
                Some(own) => Diagnostic { origin: object.origin.clone(), ..own },
                None => {
                    let text = format!("Schema validation warning: {finding}");
                    SCHEMA_WARNING.about(&object.origin, text)
                }
            };
            report.add(message.at(&finding.path));
        }
    }
}
