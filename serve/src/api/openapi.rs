//! `/v1/openapi.json`: the list of routes as OpenAPI 3.1.

use serde_json::{Map, Value, json};

use crate::call::{Answer, Call};
use crate::config::{CLASS, DEFINITIONS};
use crate::routes::{Body, Param, ParamKind, ROUTES, Route, Who};
use crate::service::Service;

pub fn read(_: &Service, _: &Call) -> Answer {
    Answer::json(200, &document())
}

/// The whole document.
pub fn document() -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for route in ROUTES {
        let path = paths.entry(route.path.to_owned()).or_insert_with(|| json!({}));
        path[route.method.to_lowercase()] = operation(route);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "douane serve",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Kafka Connect's REST API over pipelines, and the product's own below /v1.",
        },
        "paths": paths,
        "components": {
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "basic": {"type": "http", "scheme": "basic"},
            },
            "schemas": {
                "Connector": schema(Body::Connector),
                "Config": schema(Body::Config),
                "Patch": schema(Body::Patch),
                "Offsets": schema(Body::Offsets),
                "Level": schema(Body::Level),
                "Signed": schema(Body::Signed),
                "Error": {
                    "type": "object",
                    "required": ["error_code", "message"],
                    "properties": {
                        "error_code": {"type": "integer"},
                        "message": {"type": "string"},
                    },
                },
            },
        },
    })
}

fn operation(route: &Route) -> Value {
    let in_path = route
        .path
        .split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
        .map(|name| {
            json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}})
        });
    let parameters: Vec<Value> = in_path.chain(route.query.iter().map(in_query)).collect();
    let error = json!({"$ref": "#/components/schemas/Error"});
    let mut operation = json!({
        "summary": route.summary,
        "parameters": parameters,
        "responses": {
            "2XX": {"description": "It was done, or is what was asked for."},
            "default": {
                "description": "An error.",
                "content": {"application/json": {"schema": error}},
            },
        },
    });
    match route.who {
        Who::Open => operation["security"] = json!([]),
        Who::Roles(roles) => {
            operation["security"] = json!([{"bearer": []}, {"basic": []}]);
            operation["x-roles"] = roles.iter().map(|role| role.name()).collect();
        }
    }
    if let Some(act) = route.act {
        operation["x-act"] = json!(act.name());
    }
    if let Some(body) = route.body {
        let schema = json!({"$ref": format!("#/components/schemas/{body:?}")});
        operation["requestBody"] =
            json!({"required": true, "content": {"application/json": {"schema": schema}}});
    }
    operation
}

fn in_query(param: &Param) -> Value {
    let schema = match param.kind {
        ParamKind::Text => json!({"type": "string"}),
        ParamKind::Flag => json!({"type": "boolean", "default": false}),
        ParamKind::Count(u64::MAX) => json!({"type": "integer", "minimum": 0}),
        ParamKind::Count(most) => json!({"type": "integer", "minimum": 0, "maximum": most}),
        ParamKind::Word(words) => json!({"type": "string", "enum": words}),
        ParamKind::Words(words) => {
            json!({"type": "array", "items": {"type": "string", "enum": words}})
        }
    };
    let Param { name, about, .. } = param;
    json!({"name": name, "in": "query", "required": false, "description": about, "schema": schema})
}

/// What a body holds. Kafka Connect's clients send texts; numbers and truth values are taken as texts.
fn schema(body: Body) -> Value {
    let plain = json!({"type": ["string", "number", "boolean"]});
    let object = |required: &[&str], properties: Value| json!({"type": "object", "required": required, "properties": properties, "additionalProperties": false});
    let offset = |inner: Value| {
        object(&["offsets"], json!({"offsets": {"type": "array", "minItems": 1, "items": inner}}))
    };
    match body {
        Body::Connector => object(
            &["name", "config"],
            json!({
                "name": {"type": "string"},
                "config": {"$ref": "#/components/schemas/Config"},
                "initial_state": {"type": ["string", "null"], "enum": ["RUNNING", "PAUSED", "STOPPED", null]},
            }),
        ),
        Body::Config | Body::Patch => {
            let keys = DEFINITIONS.iter().map(|key| {
                let mut of = json!({"type": ["string", "number", "boolean"], "description": key.documentation});
                if body == Body::Patch {
                    of["type"] = json!(["string", "number", "boolean", "null"]);
                }
                (key.name.to_owned(), of)
            });
            let keys: Map<String, Value> = keys.collect();
            let required = if body == Body::Config { &["connector.class"][..] } else { &[] };
            let mut config = object(required, keys.into());
            config["description"] =
                json!(format!("Keys of {CLASS}; any other is an error, told by its name."));
            config
        }
        Body::Offsets => offset(object(
            &["partition"],
            json!({
                "partition": object(
                    &["kafka_topic", "kafka_partition"],
                    json!({"kafka_topic": {"type": "string"}, "kafka_partition": {"type": ["integer", "string"]}}),
                ),
                "offset": {"oneOf": [
                    {"type": "null"},
                    object(&["kafka_offset"], json!({"kafka_offset": {"type": ["integer", "string"]}})),
                ]},
            }),
        )),
        Body::Level => object(&["level"], json!({"level": plain})),
        Body::Signed => {
            let signature = json!({"keyid": {"type": "string"}, "sig": {"type": "string"}});
            let signature = object(&["sig"], signature);
            object(
                &["payload", "payloadType", "signatures"],
                json!({
                    "payload": {"type": "string"},
                    "payloadType": {"type": "string"},
                    "signatures": {"type": "array", "minItems": 1, "items": signature},
                }),
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_stands_in_it_with_who_may_call_it() {
        let document = document();
        let paths = document["paths"].as_object().unwrap();
        let operations: usize = paths.values().map(|p| p.as_object().unwrap().len()).sum();
        assert_eq!(operations, ROUTES.len());
        let create = &paths["/connectors"]["post"];
        assert_eq!(create["x-roles"], json!(["author"]));
        let body = |operation: &Value| {
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
            let name = schema["$ref"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
            document["components"]["schemas"][name].clone()
        };
        assert_eq!(body(create)["required"], json!(["name", "config"]));
        for (path, methods) in paths {
            for (method, operation) in methods.as_object().unwrap() {
                let route =
                    ROUTES.iter().find(|r| r.path == path && r.method.eq_ignore_ascii_case(method));
                let route = route.unwrap();
                assert_eq!(operation.get("requestBody").is_some(), route.body.is_some(), "{path}");
                if route.body.is_some() {
                    assert!(body(operation)["properties"].is_object(), "{method} {path}");
                }
            }
        }
        let restart = paths["/connectors/{c}/restart"]["post"]["parameters"].as_array().unwrap();
        let names: Vec<&str> = restart.iter().map(|one| one["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["c", "includeTasks", "onlyFailed"]);
        assert_eq!(paths["/livez"]["get"]["security"], json!([]));
        let named = &paths["/connectors/{c}/tasks/{n}/status"]["get"]["parameters"];
        assert_eq!([&named[0]["name"], &named[1]["name"]], ["c", "n"]);
    }
}
