//! A JSON Schema of both files, made from the tables of keys and shapes: what editors complete and check.
//!
//! Draft 2020-12. It says no less than the reader where a schema can: globs, regular expressions and what two
//! keys mean together are the reader's alone.

use serde_json::{Map, Value, json};

use super::{
    keys::{self, Key},
    settings::Settings,
    shapes::{self, Field, Shape},
    show,
};
use crate::ids::NAME;

/// Durations have many forms (`1h 30m`, `2 hours`, `PT4H`, `0:30:00`); none of them is a bare number.
const DURATION: &str = "[A-Za-z:]";
const SIZE: &str = "^[0-9]+\\s*(K|M|G|T|KiB|MiB|GiB|TiB)$";

/// The schema of a repository's file.
pub fn repository() -> Value {
    let defaults = show::values(&Settings::default());
    let keys = shapes::REPOSITORY.iter().filter(|field| held(keys::REPOSITORY, field.key));
    let mut root = object();
    for field in keys {
        let default = defaults.iter().find(|(key, _)| *key == field.key).map(|(_, value)| value);
        insert(&mut root, field, default);
    }
    for (key, kind) in keys::REPOSITORY {
        if let Key::Only(word) = kind {
            place(&mut root, key, json!({"const": show::only(word)}));
        }
    }
    titled(root, "settings of one repository")
}

/// The schema of the user's own file.
pub fn user() -> Value {
    let table = keys::user();
    let rules = shapes::REPOSITORY.iter().filter(|field| is_rule(field.key));
    let version = shapes::REPOSITORY.iter().filter(|field| field.key == "version");
    let mut root = object();
    for field in version.chain(shapes::USER).chain(rules).filter(|field| held(&table, field.key)) {
        insert(&mut root, field, None);
    }
    titled(root, "settings of one person")
}

fn is_rule(key: &str) -> bool {
    key.starts_with("limits.") || key.starts_with("policy.")
}

fn held(table: &[(&str, Key)], key: &str) -> bool {
    keys::lookup(table, key) == Some(Key::Value)
}

fn titled(mut root: Value, what: &str) -> Value {
    if let Value::Object(fields) = &mut root {
        fields.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
        fields.insert("title".to_owned(), json!(format!("{NAME}: {what}")));
    }
    root
}

fn object() -> Value {
    // A section without a value, such as `limits:`, is read as empty.
    json!({"type": ["object", "null"], "additionalProperties": false, "properties": {}})
}

fn insert(root: &mut Value, field: &Field, default: Option<&serde_yaml::Value>) {
    let mut schema = of(field.shape);
    if let Value::Object(fields) = &mut schema {
        fields.insert("description".to_owned(), json!(field.about));
        if let Some(default) = default.and_then(|value| serde_json::to_value(value).ok()) {
            fields.insert("default".to_owned(), default);
        }
    }
    place(root, field.key, schema);
}

/// Puts the schema of a dotted key below the objects of its sections.
fn place(root: &mut Value, key: &str, schema: Value) {
    let (first, rest) =
        key.split_once('.').map_or((key, None), |(first, rest)| (first, Some(rest)));
    let Some(properties) = root.get_mut("properties").and_then(Value::as_object_mut) else {
        return;
    };
    match rest {
        None => {
            properties.insert(first.to_owned(), schema);
        }
        Some(rest) => {
            let section = properties.entry(first.to_owned()).or_insert_with(object);
            place(section, rest, schema);
        }
    }
}

fn of(shape: Shape) -> Value {
    match shape {
        Shape::Flag => json!({"type": "boolean"}),
        Shape::Number(least, most) => json!({"type": "integer", "minimum": least, "maximum": most}),
        Shape::Count => json!({"type": "integer", "minimum": 0}),
        Shape::Money => json!({"type": "number", "minimum": 0, "maximum": 1_000_000}),
        Shape::Duration => json!({"type": "string", "pattern": DURATION}),
        Shape::Size => json!({"anyOf": [{"const": 0}, {"type": "string", "pattern": SIZE}]}),
        Shape::Text => json!({"type": "string", "minLength": 1}),
        Shape::Word(words) => json!({"enum": words}),
        Shape::Share => json!({"anyOf": [
            {"type": "integer", "minimum": 0, "maximum": 100},
            {"type": "string", "pattern": "^\\s*(off|(100|[0-9]{1,2})\\s*%)\\s*$"},
        ]}),
        Shape::List(of) => json!({"type": "array", "items": self::of(*of)}),
        Shape::Map(fields) => map(fields),
        Shape::Named(of) => json!({"type": "object", "additionalProperties": self::of(*of)}),
        Shape::Either(shapes) => {
            json!({"anyOf": shapes.iter().map(|shape| self::of(*shape)).collect::<Vec<_>>()})
        }
        Shape::Rules => {
            let mut root = object();
            for field in shapes::REPOSITORY.iter().filter(|field| is_rule(field.key)) {
                insert(&mut root, field, None);
            }
            root
        }
    }
}

fn map(fields: &[Field]) -> Value {
    let mut properties = Map::new();
    for field in fields {
        let mut schema = of(field.shape);
        if let Value::Object(inside) = &mut schema {
            inside.insert("description".to_owned(), json!(field.about));
        }
        properties.insert(field.key.to_owned(), schema);
    }
    let needed = fields.iter().filter(|field| field.needed).map(|field| field.key);
    let needed: Vec<&str> = needed.collect();
    json!({
        "type": "object",
        "additionalProperties": false,
        "properties": properties,
        "required": needed,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{parse_repository, parse_user};

    /// The part of JSON Schema that we write, checked by the letter of its specification. `Err` is the place.
    fn check(schema: &Value, value: &Value, at: &str) -> Result<(), String> {
        let wrong = |what: &str| Err(format!("{at}: {what}"));
        for (word, rule) in schema.as_object().expect("a schema is an object") {
            match word.as_str() {
                "$schema" | "title" | "description" | "default" => {}
                "type" => {
                    let types = rule.as_array().cloned().unwrap_or_else(|| vec![rule.clone()]);
                    let is = |name: &Value| match name.as_str().unwrap() {
                        "object" => value.is_object(),
                        "array" => value.is_array(),
                        "string" => value.is_string(),
                        "boolean" => value.is_boolean(),
                        "null" => value.is_null(),
                        "integer" => value.is_u64() || value.is_i64(),
                        "number" => value.is_number(),
                        other => panic!("no type {other}"),
                    };
                    if !types.iter().any(is) {
                        return wrong("type");
                    }
                }
                "properties" => {
                    for (key, below) in rule.as_object().unwrap() {
                        if let Some(value) = value.get(key) {
                            check(below, value, &format!("{at}.{key}"))?;
                        }
                    }
                }
                "additionalProperties" => {
                    let known = schema.get("properties").and_then(Value::as_object);
                    let fields = value.as_object().into_iter().flatten();
                    for (key, value) in fields {
                        if known.is_some_and(|known| known.contains_key(key)) {
                            continue;
                        }
                        if *rule == json!(false) {
                            return Err(format!("{at}.{key}: unknown"));
                        }
                        check(rule, value, &format!("{at}.{key}"))?;
                    }
                }
                "required" => {
                    let needed = rule.as_array().unwrap().iter().map(|key| key.as_str().unwrap());
                    let lacks = |key: &str| value.get(key).is_none();
                    if value.is_object() && needed.into_iter().any(lacks) {
                        return wrong("required");
                    }
                }
                "items" => {
                    for (number, item) in value.as_array().into_iter().flatten().enumerate() {
                        check(rule, item, &format!("{at}[{number}]"))?;
                    }
                }
                "anyOf" => {
                    let mut each = rule.as_array().unwrap().iter();
                    if !each.any(|schema| check(schema, value, at).is_ok()) {
                        return wrong("anyOf");
                    }
                }
                "enum" if !rule.as_array().unwrap().contains(value) => return wrong("enum"),
                "const" if rule != value => return wrong("const"),
                "enum" | "const" => {}
                "minimum" if value.as_f64() < rule.as_f64() && value.is_number() => {
                    return wrong("minimum");
                }
                "maximum" if value.as_f64() > rule.as_f64() => return wrong("maximum"),
                "minLength" if value.as_str() == Some("") => return wrong("minLength"),
                "minimum" | "maximum" | "minLength" => {}
                "pattern" => {
                    let pattern = regex::Regex::new(rule.as_str().unwrap()).unwrap();
                    if value.as_str().is_some_and(|text| !pattern.is_match(text)) {
                        return wrong("pattern");
                    }
                }
                other => panic!("this check does not know `{other}`"),
            }
        }
        Ok(())
    }

    fn yaml(text: &str) -> Value {
        let value: serde_yaml::Value = serde_yaml::from_str(text).unwrap();
        let value = serde_json::to_value(value).unwrap();
        if value.is_null() { json!({}) } else { value }
    }

    #[test]
    fn what_is_shown_the_schema_takes() {
        let text = show::file(&Settings::default(), true);
        assert_eq!(check(&repository(), &yaml(&text), "$"), Ok(()), "{text}");
        for text in [include_str!("../../templates/config.yml"), "", "limits:\npolicy:\n"] {
            assert_eq!(check(&repository(), &yaml(text), "$"), Ok(()), "{text}");
        }
        let text = show::user_file(&crate::config::UserSettings::default());
        assert_eq!(check(&user(), &yaml(&text), "$"), Ok(()), "{text}");
    }

    #[test]
    fn schema_and_reader_agree_on_keys_kinds_and_borders() {
        let good = [
            "limits: {tasks: 2, time: 1h 30m, cost: 2.5, turns: 0}",
            "policy: {tests: proven, secrets: report, weaker_tests: ask}",
            "policy: {paths: {allow: [['src/**'], ['**/*.rs']], delete: ask}}",
            "policy: {risk: {low: {upto: 10, proof: none}, medium: {do: ask}}}",
            "gate: {steps: [{name: a, run: x, timeout: 5m, required: true, weight: 3}]}",
            "gate: {steps: check.sh, network: none, setup: [npm ci]}",
            "agent: {fallback: {models: [sonnet], at: off}, retry: [500ms, 2s]}",
            "agent: {fallback: [sonnet]}",
            "pr: {split: night, labels: []}",
            "gate: {canary: off, baseline: compare, flaky_reruns: 5}",
        ];
        for text in good {
            assert!(parse_repository("c", text).is_ok(), "{text}");
            assert_eq!(check(&repository(), &yaml(text), "$"), Ok(()), "{text}");
        }
        let bad = [
            "banana: 1",
            "limits: {task: 2}",
            "limits: {tasks: 0}",
            "limits: {tasks: 10001}",
            "limits: {tasks: many}",
            "limits: {tasks: 1.5}",
            "limits: {time: 4}",
            "limits: {cost: -1}",
            "limits: {cost: '10'}",
            "limits: 5",
            "policy: {tests: often}",
            "policy: {paths: {allow: 'src/**'}}",
            "policy: {risk: {low: {upto: 101}}}",
            "policy: {risk: {low: {until: 1}}}",
            "policy: {decisions: {high: review}}",
            "gate: {steps: [{run: x}]}",
            "gate: {steps: [{name: a, run: x, weight: 0}]}",
            "plan: {update: 1}",
            "gate: {flaky_reruns: 6}",
            "gate: {baseline: red}",
            "pr: {split: task}",
            "version: 2",
            "sandbox: off",
            "notify: []",
        ];
        for text in bad {
            assert!(parse_repository("c", text).is_err(), "{text}");
            assert!(check(&repository(), &yaml(text), "$").is_err(), "{text}");
        }
        let good = [
            "sandbox: off",
            "sandbox: {use: t2, read: [/opt], memory: 8GiB, disk_reserve: 0}",
            "agents: {mine: {command: [a]}}",
            "limits: {tasks: 1}\nrepos: {~/app: {limits: {tasks: 9}, policy: {tests: optional}}}",
        ];
        for text in good {
            assert!(parse_user("c", text).is_ok(), "{text}");
            assert_eq!(check(&user(), &yaml(text), "$"), Ok(()), "{text}");
        }
        for text in ["agents: {mine: {}}", "repos: {~/a: {gate: {steps: x}}}", "gate: {steps: x}"] {
            assert!(parse_user("c", text).is_err(), "{text}");
            assert!(check(&user(), &yaml(text), "$").is_err(), "{text}");
        }
    }

    #[test]
    fn every_key_that_is_read_has_a_shape_and_every_shape_a_key() {
        let (read, shaped): (Vec<&str>, Vec<&str>) = (
            keys::REPOSITORY
                .iter()
                .filter(|(_, kind)| *kind == Key::Value)
                .map(|(k, _)| *k)
                .collect(),
            shapes::REPOSITORY.iter().map(|field| field.key).collect(),
        );
        let missing: Vec<&&str> = read.iter().filter(|key| !shaped.contains(key)).collect();
        assert!(missing.is_empty(), "add to shapes::REPOSITORY: {missing:?}");
        assert!(shaped.iter().all(|key| read.contains(key)));
        let user = keys::user();
        for field in shapes::USER {
            assert_eq!(keys::lookup(&user, field.key), Some(Key::Value), "{}", field.key);
        }
        for (table, shape) in [(keys::STEP, "gate.steps"), (keys::BAND, "policy.risk.low")] {
            let text = serde_json::to_string(&repository()["properties"]).unwrap();
            for (key, kind) in table.iter().filter(|(_, kind)| *kind == Key::Value) {
                assert!(text.contains(&format!("\"{key}\":")), "{shape} {key} {kind:?}");
            }
        }
    }

    #[test]
    fn the_schemas_in_the_repository_are_the_programs() {
        for (path, schema) in [("config.v1.json", repository()), ("user.v1.json", user())] {
            let at = format!("{}/schema/{path}", env!("CARGO_MANIFEST_DIR"));
            let held: Value = serde_json::from_str(&std::fs::read_to_string(&at).unwrap()).unwrap();
            let command = "nightshift config schema > schema/config.v1.json (--user: user.v1.json)";
            assert!(held == schema, "schema/{path} is old: {command}");
        }
    }
}
