//! One call and its answer, as the files of `api` see them.

use std::borrow::Cow;
use std::collections::BTreeMap;

use douane_pipelines::config::Role;
use serde_json::{Value, json};

/// What was asked.
pub struct Call {
    /// Values of the route's parameters, by name.
    pub params: BTreeMap<String, String>,
    /// In the order of the query; decoded.
    pub query: Vec<(String, String)>,
    /// What the caller may do; nothing where the route is open to all.
    pub roles: Vec<Role>,
    /// What it was reached under, for `Location`.
    pub origin: String,
    /// The header of that name: what the caller has already.
    pub if_none_match: Option<String>,
    pub body: Vec<u8>,
}

impl Call {
    /// A parameter of the path.
    pub fn param(&self, name: &str) -> &str {
        self.params.get(name).map_or("", String::as_str)
    }

    /// The first value of a query's key.
    pub fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// As Kafka Connect reads it: whatever is not `true` is false.
    pub fn flag(&self, name: &str) -> bool {
        self.query(name).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    /// The body as JSON.
    pub fn json(&self) -> Result<Value, Answer> {
        if self.body.is_empty() {
            return Err(Answer::error(400, "the body is empty: expected JSON"));
        }
        serde_json::from_slice(&self.body).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            Answer::error(400, &format!("the body is no JSON: line {line}, column {column}"))
        })
    }

    /// The body as an object of texts, numbers and truth values, each taken as text; `null` stays.
    pub fn map(&self) -> Result<BTreeMap<String, Option<String>>, Answer> {
        flat(&self.json()?)
    }
}

/// An object as a flat map of texts.
pub fn flat(value: &Value) -> Result<BTreeMap<String, Option<String>>, Answer> {
    let object = value.as_object().ok_or_else(|| {
        Answer::error(400, "expected an object of names and values, found something else")
    })?;
    let text = |(key, value): (&String, &Value)| {
        let value = match value {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(truth) => Some(truth.to_string()),
            Value::Array(_) | Value::Object(_) => {
                let what = "expected a text, a number or a truth value, found a list or an object";
                return Err(Answer::error(400, what));
            }
        };
        Ok((key.clone(), value))
    };
    object.iter().map(text).collect()
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub content_type: Option<&'static str>,
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
    /// In the place of `body`, what is no text.
    pub bytes: Option<Cow<'static, [u8]>>,
}

impl Answer {
    pub fn json(status: u16, value: &Value) -> Self {
        Self::text(status, "application/json", value.to_string())
    }

    pub fn text(status: u16, content_type: &'static str, body: String) -> Self {
        let (headers, bytes) = (Vec::new(), None);
        Self { status, content_type: Some(content_type), headers, body, bytes }
    }

    pub fn empty(status: u16) -> Self {
        let (headers, body, bytes) = (Vec::new(), String::new(), None);
        Self { status, content_type: None, headers, body, bytes }
    }

    pub fn bytes(content_type: &'static str, bytes: impl Into<Cow<'static, [u8]>>) -> Self {
        let empty = Self::text(200, content_type, String::new());
        Self { bytes: Some(bytes.into()), ..empty }
    }

    /// An error in the one form that Kafka Connect has for them.
    pub fn error(status: u16, message: &str) -> Self {
        Self::json(status, &json!({"error_code": status, "message": message}))
    }

    pub fn header(mut self, name: &'static str, value: String) -> Self {
        self.headers.push((name, value));
        self
    }
}
