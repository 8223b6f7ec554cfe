//! Admission webhooks: which apply to a write, in which order, and what their answers do.

mod call;
mod config;
mod review;

use futures::future::join_all;
use local_model::patch;
use local_model::refusal::{Reason, Refusal};
use serde_json::Value;

use self::config::{Hook, Target};
use self::review::{Answer, Outcome};
use super::admission::Review;
use super::error::{ApiError, Result};
use super::server::Server;

/// Lets the mutating webhooks change the object, one after the other. Those that ask for it see
/// it again when later ones changed it. Tells whether any did.
pub(crate) async fn mutate(
    server: &Server,
    review: &Review<'_>,
    object: &mut Value,
) -> Result<bool> {
    let hooks = config::mutating(server, review, Some(&*object));
    let mut changed = false;
    let mut again = Vec::new();
    for hook in &hooks {
        let Some(target) = hook.target(server, review, Some(&*object))? else { continue };
        let before = again.len();
        if apply(server, review, hook, &target, object).await? {
            changed = true;
            // Those called before this one have not seen the change.
            again[..before].iter_mut().for_each(|(_, stale)| *stale = true);
        }
        again.push((hook, false));
    }
    for (hook, stale) in again {
        if !(stale && hook.reinvoke) {
            continue;
        }
        if let Some(target) = hook.target(server, review, Some(&*object))? {
            changed |= apply(server, review, hook, &target, object).await?;
        }
    }
    Ok(changed)
}

/// Asks one mutating webhook and applies its patch.
async fn apply(
    server: &Server,
    review: &Review<'_>,
    hook: &Hook,
    target: &Target,
    object: &mut Value,
) -> Result<bool> {
    let Some(answer) = ask(server, review, hook, target, Some(&*object)).await? else {
        return Ok(false);
    };
    let Some(operations) = answer.patch else { return Ok(false) };
    let shown = target.show(object);
    let result = patch::json(&shown, &operations).map_err(|e| e.message).and_then(|mut patched| {
        target.restore(&mut patched, object)?;
        let resource = &review.request.resource;
        resource.decode(&mut patched).map_err(|e| e.message)?;
        Ok(patched)
    });
    match result {
        Ok(patched) if patched == *object => Ok(false),
        Ok(patched) => {
            *object = patched;
            Ok(true)
        }
        Err(why) => {
            hook.failed(&why)?;
            Ok(false)
        }
    }
}

/// Asks every validating webhook at once. `object` is absent when the object goes.
pub(crate) async fn validate(
    server: &Server,
    review: &Review<'_>,
    object: Option<&Value>,
) -> Result<()> {
    let hooks = config::validating(server, review, object);
    let mut asked = Vec::new();
    for hook in &hooks {
        if let Some(target) = hook.target(server, review, object)? {
            asked.push((hook, target));
        }
    }
    let answers = asked.iter().map(|(hook, target)| ask(server, review, hook, target, object));
    join_all(answers).await.into_iter().try_for_each(|answer| answer.map(drop))
}

/// Calls one webhook. `None` when it failed and may; an error when it refused, or failed and
/// must not.
async fn ask(
    server: &Server,
    review: &Review<'_>,
    hook: &Hook,
    target: &Target,
    object: Option<&Value>,
) -> Result<Option<Answer>> {
    if review.dry_run && !hook.dry_run_safe {
        let message = format!("admission webhook {:?} does not support dry run", hook.name);
        return Err(Refusal::bad_request(message).into());
    }
    let uid = uuid::Uuid::new_v4().to_string();
    let body = review::request(review, target, object, &uid);
    let response = match call::post(server, hook, &body).await {
        Ok(response) => response,
        Err(why) => {
            hook.failed(&why)?;
            return Ok(None);
        }
    };
    match review::read(&response, &uid, hook.mutating) {
        Err(why) => {
            hook.failed(&why)?;
            Ok(None)
        }
        Ok(Outcome { warnings, result }) => {
            for warning in warnings {
                review.request.warn(warning);
            }
            match result {
                Ok(answer) => Ok(Some(answer)),
                Err(status) => Err(denied(&hook.name, &status)),
            }
        }
    }
}

/// The refusal of a webhook, as Kubernetes words it.
fn denied(hook: &str, status: &Value) -> ApiError {
    let message = status["message"].as_str().filter(|m| !m.is_empty());
    let reason = status["reason"].as_str().filter(|r| !r.is_empty());
    let text = match (message, reason) {
        (Some(message), _) => format!("admission webhook {hook:?} denied the request: {message}"),
        (None, Some(reason)) => format!("admission webhook {hook:?} denied the request: {reason}"),
        (None, None) => {
            format!("admission webhook {hook:?} denied the request without explanation")
        }
    };
    let code = status["code"]
        .as_u64()
        .and_then(|code| u16::try_from(code).ok())
        .filter(|code| (400..600).contains(code))
        .unwrap_or(400);
    let mut answer = Refusal::new(Reason::BadRequest, text).to_status();
    answer["code"] = code.into();
    match (reason, answer.as_object_mut()) {
        (Some(reason), _) => answer["reason"] = reason.into(),
        // The reason is the webhook's to give.
        (None, Some(answer)) => drop(answer.remove("reason")),
        (None, None) => {}
    }
    if !status["details"].is_null() {
        answer["details"] = status["details"].clone();
    }
    ApiError::Status { code, status: Box::new(answer) }
}

#[cfg(test)]
mod tests {
    use super::denied;
    use serde_json::json;

    #[test]
    fn denials() {
        for (status, code, message) in [
            (
                json!({"message": "no", "code": 400}),
                400,
                "admission webhook \"w\" denied the request: no",
            ),
            (json!({}), 400, "admission webhook \"w\" denied the request without explanation"),
            (
                json!({"reason": "Invalid", "code": 200}),
                400,
                "admission webhook \"w\" denied the request: Invalid",
            ),
        ] {
            let error = denied("w", &status);
            assert_eq!(error.message(), message);
            assert_eq!(error.response().status(), code);
        }
    }
}
