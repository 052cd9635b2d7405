//! What a service says it can do (SPEC 17.2, `nuropb_describe`).

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::handler::{Method, Parameter};

/// The description of a service, in NuroPb's form.
pub(super) fn describe(
    service: &str,
    version: &str,
    text: Option<&str>,
    methods: &BTreeMap<String, Method>,
    public_key: Option<&str>,
) -> Value {
    let shown = methods.iter().filter(|(_, method)| !method.hidden);
    let shown: Map<_, _> = shown.map(|(name, method)| (name.clone(), of_method(method))).collect();
    json!({
        "service_name": service,
        "service_version": version,
        "description": text,
        "warnings": [],
        "encrypted_methods": methods.values().any(|method| method.encrypted),
        "public_key": public_key,
        "methods": shown,
    })
}

fn of_method(method: &Method) -> Value {
    // NuroPb has pairs here, so that they keep their order.
    let properties = method.parameters.iter().map(|Parameter { name, kind, default }| {
        let default = default.clone().unwrap_or_else(|| "".into());
        json!([name, {"type": kind, "description": "", "default": default}])
    });
    let required = method.parameters.iter().filter(|it| it.default.is_none()).map(|it| &it.name);
    json!({
        "description": method.description,
        "requires_encryption": method.encrypted,
        "parameters": {
            "type": "object",
            "properties": properties.collect::<Vec<_>>(),
            "required": required.collect::<Vec<_>>(),
        },
    })
}
