//! `/v1/openapi.json`: the list of routes as OpenAPI 3.1.

use serde_json::{Map, Value, json};

use crate::call::{Answer, Call};
use crate::routes::{ROUTES, Route, Who};
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
    let parameters: Vec<Value> = route
        .path
        .split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
        .map(|name| {
            json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}})
        })
        .collect();
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
    if route.has_body {
        operation["requestBody"] = json!({
            "required": true,
            "content": {"application/json": {"schema": {"type": "object"}}},
        });
    }
    operation
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
        assert!(create["requestBody"].is_object());
        assert_eq!(paths["/livez"]["get"]["security"], json!([]));
        let named = &paths["/connectors/{c}/tasks/{n}/status"]["get"]["parameters"];
        assert_eq!([&named[0]["name"], &named[1]["name"]], ["c", "n"]);
    }
}
