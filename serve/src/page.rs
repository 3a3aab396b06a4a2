//! The page for people: files of the program, the same for everybody. It holds nothing; what it
//! shows it asks of `/v1`, with the token of whoever looks.

use douane_ledger::canonical::sha256_hex;

use crate::call::{Answer, Call};
use crate::service::Service;

/// Nothing from elsewhere, nothing inline, in no frame. WebAssembly is the verifier's.
const POLICY: &str = "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; object-src 'none'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// It is asked for each time, and answered with 304 where it is the same.
const CACHE: &str = "no-cache";

struct File {
    name: &'static str,
    content_type: &'static str,
    bytes: &'static [u8],
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

const FILES: &[File] = &[
    file_of("index.html", HTML, include_bytes!("../page/index.html")),
    file_of("style.css", CSS, include_bytes!("../page/style.css")),
    file_of("app.js", SCRIPT, include_bytes!("../page/app.js")),
    file_of("dom.js", SCRIPT, include_bytes!("../page/dom.js")),
    file_of("ask.js", SCRIPT, include_bytes!("../page/ask.js")),
    file_of("partitions.js", SCRIPT, include_bytes!("../page/partitions.js")),
    file_of("border.js", SCRIPT, include_bytes!("../page/border.js")),
    file_of("releases.js", SCRIPT, include_bytes!("../page/releases.js")),
    file_of("budget.js", SCRIPT, include_bytes!("../page/budget.js")),
    file_of("held.js", SCRIPT, include_bytes!("../page/held.js")),
    file_of("ledger.js", SCRIPT, include_bytes!("../page/ledger.js")),
    file_of("verifier.js", SCRIPT, include_bytes!("../page/verifier.js")),
    file_of("verify.wasm", "application/wasm", include_bytes!("../page/verify.wasm")),
    file_of("icon.svg", "image/svg+xml", include_bytes!("../page/icon.svg")),
];

const fn file_of(name: &'static str, content_type: &'static str, bytes: &'static [u8]) -> File {
    File { name, content_type, bytes }
}

pub fn index(_: &Service, call: &Call) -> Answer {
    answer("index.html", call)
}

pub fn file(_: &Service, call: &Call) -> Answer {
    answer(call.param("f"), call)
}

fn answer(name: &str, call: &Call) -> Answer {
    let Some(file) = FILES.iter().find(|file| file.name == name) else {
        return Answer::error(404, "the page has no such file");
    };
    let tag = format!("\"{}\"", &sha256_hex(file.bytes)[..32]);
    let same = call.if_none_match.as_deref().is_some_and(|known| known.contains(&tag));
    let answer = match same {
        true => Answer::empty(304),
        false => Answer::bytes(file.content_type, file.bytes),
    };
    answer
        .header("ETag", tag)
        .header("Cache-Control", CACHE.to_owned())
        .header("Content-Security-Policy", POLICY.to_owned())
        .header("Referrer-Policy", "no-referrer".to_owned())
        .header("Cross-Origin-Opener-Policy", "same-origin".to_owned())
        .header("Cross-Origin-Resource-Policy", "same-origin".to_owned())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn ask(name: &str, if_none_match: Option<String>) -> Answer {
        let (params, query) = (BTreeMap::new(), Vec::new());
        let (roles, origin, body) = (Vec::new(), String::new(), Vec::new());
        let call = Call { params, query, roles, origin, if_none_match, body };
        answer(name, &call)
    }

    fn header(answer: &Answer, name: &str) -> String {
        let found = answer.headers.iter().find(|(key, _)| *key == name);
        found.map(|(_, value)| value.clone()).unwrap_or_default()
    }

    #[test]
    fn a_file_is_answered_with_its_tag_and_not_twice() {
        let first = ask("app.js", None);
        assert_eq!((first.status, first.content_type), (200, Some(SCRIPT)));
        assert!(first.bytes.as_ref().is_some_and(|bytes| bytes.len() > 100));
        let again = ask("app.js", Some(header(&first, "ETag")));
        assert_eq!((again.status, again.bytes), (304, None));
        assert_eq!(ask("app.js", Some("\"0\"".to_owned())).status, 200);
        assert_ne!(header(&first, "ETag"), header(&ask("dom.js", None), "ETag"));
        for name in ["", "..", "../app.js", "app.rs"] {
            assert_eq!(ask(name, None).status, 404, "{name}");
        }
        for file in FILES {
            assert_eq!(header(&ask(file.name, None), "Content-Security-Policy"), POLICY);
        }
    }

    /// What comes with the first look; the verifier is fetched when somebody asks for it.
    #[test]
    fn the_page_is_small_and_asks_nothing_of_anybody_else() {
        let first = FILES.iter().filter(|file| !file.name.ends_with(".wasm"));
        let bytes: usize = first.clone().map(|file| file.bytes.len()).sum();
        assert!(bytes <= 250 * 1024, "{bytes} bytes");
        for file in first {
            let text = std::str::from_utf8(file.bytes).unwrap();
            let text = text.replace("http://www.w3.org/2000/svg", "");
            for word in ["http:", "https:", "eval(", "innerHTML", "localStorage", "document.write"]
            {
                assert!(!text.contains(word), "{}: {word}", file.name);
            }
            // Nothing inline: the policy would refuse it in silence.
            if file.name.ends_with(".html") {
                for word in ["<style", " style=", " onclick=", "javascript:", "<script>"] {
                    assert!(!text.contains(word), "{}: {word}", file.name);
                }
            }
        }
    }
}
