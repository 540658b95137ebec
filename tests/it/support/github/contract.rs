//! GitHub's own description of the operations that we use: what a request may hold, what an answer must.
//!
//! Stricter than GitHub on purpose: unknown fields and unknown query keys, which it ignores, are refused, since that is
//! how a typo lives on. Knows the words of JSON Schema that the description uses, and fails on any other.

use std::{collections::BTreeMap, sync::LazyLock};

use serde_json::{Map, Value, json};

static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    serde_json::from_str(include_str!("github.json")).expect("the cut is JSON; see its README")
});

/// One operation, and what stands in its path.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    /// GitHub's own name, such as `pulls/create`.
    pub(crate) name: String,
    pub(crate) parameters: BTreeMap<String, String>,
}

/// The operation of a request that keeps the contract. `Err` says how it does not.
pub(crate) fn request(
    method: &str,
    path: &str,
    query: &str,
    body: Option<&Value>,
) -> Result<Operation, String> {
    let operations = DOCUMENT["operations"].as_object().expect("an object");
    let found = operations.iter().filter(|(_, operation)| operation["method"] == method);
    let fits = |(name, operation): (&String, &'static Value)| {
        let parameters = parameters(operation["path"].as_str()?, path)?;
        Some((Operation { name: name.clone(), parameters }, operation))
    };
    // A name in the path may be a word of another one: the one with fewer names is meant.
    let found = found.filter_map(fits).min_by_key(|(operation, _)| operation.parameters.len());
    let (operation, shape) = found.ok_or_else(|| format!("no operation {method} {path}"))?;
    for (key, value) in url::form_urlencoded::parse(query.as_bytes()) {
        let schema = shape["query"].get(&*key);
        let schema = schema.ok_or_else(|| format!("{}: query {key}", operation.name))?;
        let value = value.parse::<u64>().map_or_else(|_| json!(value), |number| json!(number));
        problems(schema, &value, "query", true).map_or(Ok(()), Err)?;
    }
    match (&shape["body"], body) {
        (Value::Null, Some(body)) if !body.is_null() => Err(format!("{}: a body", operation.name)),
        (Value::Null, _) | (_, None) => Ok(operation),
        (schema, Some(body)) => match problems(schema, body, &operation.name, true) {
            Some(problem) => Err(problem),
            None => Ok(operation),
        },
    }
}

/// What stands in the places of a path, when it is of this form.
fn parameters(form: &str, path: &str) -> Option<BTreeMap<String, String>> {
    let (form, path): (Vec<&str>, Vec<&str>) =
        (form.split('/').collect(), path.split('/').collect());
    let mut found = BTreeMap::new();
    // A branch's name may hold slashes; only a last parameter does.
    let same = form.len() == path.len();
    let longer = path.len() > form.len() && form.last()?.ends_with("branch}");
    if !same && !longer {
        return None;
    }
    for (at, part) in form.iter().enumerate() {
        let last = at + 1 == form.len();
        let there = if last { path[at..].join("/") } else { path[at].to_owned() };
        match part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
            Some(name) => {
                let number = name.ends_with("_id") || name.ends_with("_number");
                if there.is_empty() || number && there.parse::<u64>().is_err() {
                    return None;
                }
                found.insert(name.to_owned(), there);
            }
            None if *part == there => {}
            None => return None,
        }
    }
    Some(found)
}

/// The answer with all that GitHub's has to have beside it: every field when `full`, else only what is required, with
/// null wherever that is allowed. Panics when the answer is not one of GitHub's.
pub(crate) fn answer(operation: &str, status: u16, value: Value, full: bool) -> Value {
    let replies = &DOCUMENT["operations"][operation]["replies"];
    let Some(schema) = replies.get(status.to_string()) else { return value };
    if schema.is_null() {
        return value;
    }
    let value = fill(schema, Some(value), full, 0);
    if let Some(problem) = problems(schema, &value, operation, false) {
        panic!("the tests' GitHub answers what GitHub would not: {problem}");
    }
    value
}

fn target(schema: &'static Value) -> &'static Value {
    match schema["$ref"].as_str() {
        Some(name) => target(&DOCUMENT["$defs"][name.trim_start_matches("#/$defs/")]),
        None => schema,
    }
}

fn types(schema: &Value) -> Vec<&str> {
    match &schema["type"] {
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
        Value::String(name) => vec![name],
        _ => Vec::new(),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn is_of(schema: &Value, value: &Value) -> bool {
    let (types, kind) = (types(schema), kind(value));
    types.is_empty() || types.contains(&kind) || kind == "integer" && types.contains(&"number")
}

/// The first thing in `value` that `schema` does not allow. `strict` refuses fields that it does not name.
fn problems(schema: &Value, value: &Value, at: &str, strict: bool) -> Option<String> {
    if let Some(name) = schema["$ref"].as_str() {
        let found = &DOCUMENT["$defs"][name.trim_start_matches("#/$defs/")];
        assert!(!found.is_null(), "{name} is missing: renew github.json");
        return problems(found, value, at, strict);
    }
    let words = schema.as_object().expect("a schema is an object");
    if !is_of(schema, value) {
        return Some(format!("{at} is {}, not {:?}", kind(value), types(schema)));
    }
    for (word, rule) in words {
        let found = match word.as_str() {
            "type" => None,
            "enum" => (!rule.as_array()?.contains(value)).then(|| format!("{at} is {value}")),
            "minimum" => (value.as_f64() < rule.as_f64()).then(|| format!("{at} is too small")),
            "maximum" => (value.as_f64() > rule.as_f64()).then(|| format!("{at} is too large")),
            "minItems" => (value.as_array()?.len() < usize::try_from(rule.as_u64()?).ok()?)
                .then(|| format!("{at} is too short")),
            "format" => format_problem(rule, value, at),
            "items" => value
                .as_array()
                .into_iter()
                .flatten()
                .enumerate()
                .find_map(|(n, item)| problems(rule, item, &format!("{at}[{n}]"), strict)),
            "properties" => value.as_object().into_iter().flatten().find_map(|(name, field)| {
                problems(rule.get(name)?, field, &format!("{at}.{name}"), strict)
            }),
            "required" => rule.as_array()?.iter().filter_map(Value::as_str).find_map(|name| {
                let missing = value.as_object().is_some_and(|fields| !fields.contains_key(name));
                missing.then(|| format!("{at}.{name} is missing"))
            }),
            "additionalProperties" => None,
            "allOf" => rule.as_array()?.iter().find_map(|one| problems(one, value, at, false)),
            "oneOf" | "anyOf" => {
                let mut failed: Vec<String> = Vec::new();
                let fits = rule.as_array()?.iter().any(|one| {
                    problems(one, value, at, strict).map(|why| failed.push(why)).is_none()
                });
                (!fits).then(|| failed.join(" or "))
            }
            other => panic!("{at}: `{other}` is not known here"),
        };
        if found.is_some() {
            return found;
        }
    }
    let open = words.get("additionalProperties").is_some_and(|more| *more != Value::Bool(false));
    let named = words.get("properties").and_then(Value::as_object);
    let more = named
        .filter(|_| strict && !open)
        .and_then(|named| value.as_object()?.keys().find(|name| !named.contains_key(*name)));
    more.map(|name| format!("{at}.{name} is no field"))
}

fn format_problem(format: &Value, value: &Value, at: &str) -> Option<String> {
    let text = value.as_str()?;
    let good = match format.as_str()? {
        "date-time" => text.parse::<jiff::Timestamp>().is_ok(),
        "uri" => text.is_empty() || url::Url::parse(text).is_ok() || text.starts_with("git:"),
        _ => true,
    };
    (!good).then(|| format!("{at} is no {format}: {text}"))
}

/// How deep full answers are full: repositories hold repositories.
const DEEP: usize = 3;

fn fill(schema: &'static Value, value: Option<Value>, full: bool, depth: usize) -> Value {
    let schema = target(schema);
    let full = full && depth < DEEP;
    if value.is_none() && !full && types(schema).contains(&"null") {
        return Value::Null;
    }
    if let Some(parts) = schema["allOf"].as_array() {
        return parts.iter().fold(value.unwrap_or_else(|| json!({})), |value, part| {
            fill(part, Some(value), full, depth)
        });
    }
    let several = schema["oneOf"].as_array().or_else(|| schema["anyOf"].as_array());
    if let Some(several) = several {
        let chosen = match &value {
            Some(value) => several.iter().find(|one| is_of(target(one), value)),
            None if !full => several.iter().find(|one| types(one).contains(&"null")),
            None => None,
        };
        return fill(chosen.or(several.first()).expect("one at least"), value, full, depth);
    }
    match (value, types(schema).first().copied()) {
        (Some(Value::Object(mut fields)), _) => {
            complete(schema, &mut fields, full, depth);
            Value::Object(fields)
        }
        (Some(Value::Array(items)), _) => match schema.get("items") {
            Some(of) => items.into_iter().map(|item| fill(of, Some(item), full, depth)).collect(),
            None => Value::Array(items),
        },
        (Some(value), _) => value,
        (None, _) if schema["enum"].is_array() => schema["enum"][0].clone(),
        (None, Some("object") | None) => {
            let mut fields = Map::new();
            complete(schema, &mut fields, full, depth);
            Value::Object(fields)
        }
        (None, Some("array")) => json!([]),
        (None, Some("string")) => match schema["format"].as_str() {
            Some("date-time") => json!("2026-11-21T10:00:00Z"),
            Some("uri") => json!("https://github.example/x"),
            _ => json!("x"),
        },
        (None, Some("boolean")) => json!(false),
        (None, Some("null")) => Value::Null,
        (None, Some(_)) => json!(1),
    }
}

fn complete(schema: &'static Value, fields: &mut Map<String, Value>, full: bool, depth: usize) {
    let required: Vec<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (name, of) in schema["properties"].as_object().into_iter().flatten() {
        match fields.remove(name) {
            Some(value) => {
                fields.insert(name.clone(), fill(of, Some(value), full, depth + 1));
            }
            None if full || required.contains(&name.as_str()) => {
                fields.insert(name.clone(), fill(of, None, full, depth + 1));
            }
            None => {}
        }
    }
}

#[test]
fn requests_outside_of_the_contract_are_told() {
    let pulls = "/repos/o/r/pulls";
    let good = json!({ "title": "t", "head": "h", "base": "b", "draft": true });
    assert!(request("POST", pulls, "", Some(&good)).is_ok());
    assert!(request("GET", pulls, "state=all&head=o%3Ab&per_page=100", None).is_ok());
    for (method, path, query, body, says) in [
        ("POST", pulls, "", json!({ "title": "t", "base": "b" }), "head is missing"),
        ("POST", pulls, "", json!({ "head": "h", "base": "b", "draft": "yes" }), "draft is string"),
        (
            "POST",
            pulls,
            "",
            json!({ "head": "h", "base": "b", "darft": true }),
            "darft is no field",
        ),
        ("GET", pulls, "state=opened", Value::Null, "opened"),
        ("GET", pulls, "owner=o", Value::Null, "query owner"),
        ("PUT", pulls, "", Value::Null, "no operation"),
        ("GET", "/repos/o/r/pull", "", Value::Null, "no operation"),
        ("GET", "/repos/o/r/issues/x/comments", "", Value::Null, "no operation"),
    ] {
        let body = (!body.is_null()).then_some(body);
        let problem = request(method, path, query, body.as_ref()).unwrap_err();
        assert!(problem.contains(says), "{problem}");
    }
    let thin = answer("pulls/create", 201, json!({ "number": 7 }), false);
    let whole = answer("pulls/create", 201, json!({ "number": 7 }), true);
    assert!(thin["body"].is_null() && whole["body"].is_string() && whole["number"] == 7);
}
