//! A plain client of the service: every route of its own document is called, and everything that is
//! answered is kept.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use douane_pipelines::fault::RunFault;
use serde_json::Value;

use super::fault;

const WAIT: Duration = Duration::from_secs(60);

/// What was answered, head and body.
pub struct Answer {
    pub path: String,
    pub status: u16,
    pub bytes: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

/// Where the service says that it listens.
pub fn listens_at(said: &[u8]) -> Option<String> {
    String::from_utf8_lossy(said).lines().find_map(|line| {
        let line: Value = serde_json::from_str(line).ok()?;
        (line["event"] == "listening").then(|| line["listen"].as_str().map(str::to_owned))?
    })
}

pub fn call(
    address: &str,
    token: &str,
    method: &str,
    path: &str,
    body: Option<&str>,
) -> Result<Answer, RunFault> {
    let mut stream = TcpStream::connect(address).map_err(fault)?;
    stream.set_read_timeout(Some(WAIT)).map_err(fault)?;
    let mut request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nAuthorization: Bearer \
         {token}\r\n"
    );
    if let Some(body) = body {
        let length = body.len();
        request.push_str(&format!(
            "Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        ));
    } else {
        request.push_str("\r\n");
    }
    stream.write_all(request.as_bytes()).map_err(fault)?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).map_err(fault)?;
    let text = String::from_utf8_lossy(&bytes);
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| fault("an answer without a status"))?;
    Ok(Answer { path: path.to_owned(), status, bytes })
}

/// The answers to every operation of the document, of the pipeline and of a connector that cannot
/// run: first what reads, then what changes something, deleting last.
pub fn everything(
    address: &str,
    token: &str,
    pipeline: &str,
    other: &str,
) -> Result<Vec<Answer>, RunFault> {
    let served = call(address, token, "GET", "/v1/openapi.json", None)?;
    let text = served.text();
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let document: Value = serde_json::from_str(body).map_err(fault)?;
    let mut operations = Vec::new();
    for (path, methods) in document["paths"].as_object().into_iter().flatten() {
        for (method, operation) in methods.as_object().into_iter().flatten() {
            operations.push((method.to_uppercase(), path.clone()));
            let query = query(operation);
            if !query.is_empty() {
                operations.push((method.to_uppercase(), format!("{path}?{query}")));
            }
        }
    }
    let order = |method: &str| match method {
        "GET" => 0,
        "DELETE" => 2,
        _ => 1,
    };
    operations.sort_by_key(|(method, _)| order(method));
    let mut answers = vec![served];
    for (method, path) in &operations {
        for connector in [pipeline, other, "none"] {
            // Other verbs read its files afterwards.
            if (method.as_str(), path.as_str(), connector)
                == ("DELETE", "/connectors/{c}", pipeline)
            {
                continue;
            }
            let path = path
                .replace("{c}", connector)
                .replace("{n}", "0")
                .replace("{p}", "Pipeline")
                .replace("{l}", "root");
            let body = (method != "GET").then_some("{\"connector.class\":\"Pipeline\"}");
            answers.push(call(address, token, method, &path, body)?);
        }
    }
    Ok(answers)
}

/// Everything that an operation can be asked for, but for texts of one's own.
fn query(operation: &Value) -> String {
    let mut asked = Vec::new();
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        let (name, schema) = (parameter["name"].as_str().unwrap_or_default(), &parameter["schema"]);
        if parameter["in"] != "query" {
            continue;
        }
        let words = schema["enum"].as_array().or(schema["items"]["enum"].as_array());
        asked.extend(
            words
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .map(|word| format!("{name}={word}")),
        );
        match schema["type"].as_str() {
            Some("boolean") => asked.push(format!("{name}=true")),
            Some("integer") => asked.push(format!("{name}=1")),
            _ => {}
        }
    }
    asked.join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_an_operation_can_be_asked_for_is_asked_for() {
        let operation = serde_json::json!({"parameters": [
            {"name": "c", "in": "path", "schema": {"type": "string"}},
            {"name": "expand", "in": "query", "schema": {"type": "array", "items": {"enum": ["a", "b"]}}},
            {"name": "scope", "in": "query", "schema": {"type": "string", "enum": ["w"]}},
            {"name": "one", "in": "query", "schema": {"type": "boolean"}},
            {"name": "limit", "in": "query", "schema": {"type": "integer"}},
            {"name": "file", "in": "query", "schema": {"type": "string"}},
        ]});
        assert_eq!(query(&operation), "expand=a&expand=b&scope=w&one=true&limit=1");
        assert_eq!(query(&Value::Null), "");
    }

    #[test]
    fn where_it_listens_is_read_from_its_line() {
        let said =
            b"{\"event\":\"x\"}\nnoise\n{\"event\":\"listening\",\"listen\":\"127.0.0.1:7\"}\n";
        assert_eq!(listens_at(said).as_deref(), Some("127.0.0.1:7"));
        assert_eq!(listens_at(b"{\"event\":\"x\"}\n"), None);
    }
}
