//! Which container of a pod a request means, and whether its pod is on a node at all.

use local_model::refusal::Refusal;
use serde_json::Value;

/// Refuses a pod that no node runs.
pub(super) fn check_host(pod: &Value) -> Result<(), Refusal> {
    if pod["spec"]["nodeName"].as_str().unwrap_or_default().is_empty() {
        let name = pod["metadata"]["name"].as_str().unwrap_or_default();
        return Err(Refusal::bad_request(format!("pod {name} does not have a host assigned")));
    }
    Ok(())
}

/// The container meant: the one named, or the only one that is no init container.
pub(super) fn named(pod: &Value, named: Option<&str>) -> Result<String, Refusal> {
    let names = |key: &str| -> Vec<String> {
        let list = pod["spec"][key].as_array().into_iter().flatten();
        list.filter_map(|c| c["name"].as_str().map(str::to_owned)).collect()
    };
    let (main, init) = (names("containers"), names("initContainers"));
    let name = pod["metadata"]["name"].as_str().unwrap_or_default();
    match named {
        Some(wanted) if main.iter().chain(&init).any(|n| n == wanted) => Ok(wanted.to_owned()),
        Some(wanted) => {
            Err(Refusal::bad_request(format!("container {wanted} is not valid for pod {name}")))
        }
        None if main.len() == 1 => Ok(main[0].clone()),
        None => {
            let all = |names: &[String]| names.join(" ");
            let mut message = format!(
                "a container name must be specified for pod {name}, choose one of: [{}]",
                all(&main)
            );
            if !init.is_empty() {
                message.push_str(&format!(" or one of the init containers: [{}]", all(&init)));
            }
            Err(Refusal::bad_request(message))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::named;

    #[test]
    fn which_container() {
        let one = json!({"metadata": {"name": "p"}, "spec": {
            "containers": [{"name": "a"}], "initContainers": [{"name": "istio-proxy"}],
        }});
        let two = json!({"metadata": {"name": "p"}, "spec": {
            "containers": [{"name": "a"}, {"name": "b"}], "initContainers": [{"name": "i"}],
        }});
        assert_eq!(named(&one, None).as_deref(), Ok("a"), "a native sidecar is not asked about");
        assert_eq!(named(&two, Some("i")).as_deref(), Ok("i"));
        assert_eq!(
            named(&two, None).unwrap_err().message,
            "a container name must be specified for pod p, choose one of: [a b] or one of the \
             init containers: [i]"
        );
        assert_eq!(
            named(&one, Some("z")).unwrap_err().message,
            "container z is not valid for pod p"
        );
    }
}
