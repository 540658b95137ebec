//! Holds values against the part of a JSON schema that lies with the tests.

use jiff::Timestamp;
use serde_json::Value;

/// Holds a value against a JSON schema, as far as the part of SARIF's uses the language. A word of the language that is
/// not heeded here fails.
pub(super) fn held(
    schema: &Value,
    root: &Value,
    value: &Value,
    at: &str,
    problems: &mut Vec<String>,
) {
    let schema = schema.as_object().unwrap();
    if let Some(name) = schema.get("$ref").and_then(Value::as_str) {
        let target = root.pointer(name.strip_prefix('#').unwrap()).unwrap();
        return held(target, root, value, at, problems);
    }
    let strings = |list: &Value| -> Vec<String> {
        list.as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect()
    };
    let mut no = |what: &str| problems.push(format!("{at}{what}"));
    for (word, rule) in schema {
        let fits = match word.as_str() {
            "$schema"
            | "title"
            | "definitions"
            | "properties"
            | "items"
            | "additionalProperties"
            | "required" => true,
            "type" => match rule.as_str().unwrap() {
                "object" => value.is_object(),
                "array" => value.is_array(),
                "string" => value.is_string(),
                "integer" => value.is_i64() || value.is_u64(),
                "boolean" => value.is_boolean(),
                other => panic!("the type {other}"),
            },
            "format" => match (rule.as_str().unwrap(), value.as_str().unwrap()) {
                ("date-time", text) => text.parse::<Timestamp>().is_ok(),
                ("uri", text) => url::Url::parse(text).is_ok(),
                ("uri-reference", text) => url::Url::parse("x:/").unwrap().join(text).is_ok(),
                (other, _) => panic!("the format {other}"),
            },
            "enum" => rule.as_array().unwrap().contains(value),
            "minimum" => value.as_f64() >= rule.as_f64(),
            "minItems" => {
                value.as_array().map(Vec::len)
                    >= rule.as_u64().and_then(|least| usize::try_from(least).ok())
            }
            "uniqueItems" => {
                let items = value.as_array().unwrap();
                let twice = |(at, item): (usize, &Value)| items[..at].contains(item);
                rule == false || !items.iter().enumerate().any(twice)
            }
            "anyOf" => rule.as_array().unwrap().iter().any(|choice| {
                let mut inside = Vec::new();
                held(choice, root, value, at, &mut inside);
                inside.is_empty()
            }),
            other => panic!("the word {other}"),
        };
        match word.as_str() {
            _ if fits => {}
            "enum" => no(" is none of the allowed"),
            "anyOf" => no(" fits none of the choices"),
            word => no(&format!(" breaks {word}")),
        }
    }
    let Some(fields) = value.as_object() else {
        for (number, item) in value.as_array().into_iter().flatten().enumerate() {
            held(&schema["items"], root, item, &format!("{at}/{number}"), problems);
        }
        return;
    };
    for name in schema.get("required").map(&strings).unwrap_or_default() {
        if !fields.contains_key(&name) {
            problems.push(format!("{at} lacks {name}"));
        }
    }
    for (name, field) in fields {
        let known = schema.get("properties").and_then(|known| known.get(name));
        match known.or(schema.get("additionalProperties")) {
            Some(Value::Bool(false)) => problems.push(format!("{at} has {name}")),
            Some(Value::Object(rule)) => {
                held(&Value::Object(rule.clone()), root, field, &format!("{at}/{name}"), problems);
            }
            Some(_) | None => {}
        }
    }
}
