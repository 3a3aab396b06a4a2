//! Which names and characters may be printed. A name can be data: a map key, a JSON member of a record without a
//! registered schema.

/// A name in a form that may stand in an error, a log line or a status.
///
/// `known` says that the name stands in a registered schema or in the pipeline's YAML. An unknown
/// name is printed as `<unknown#n>` unless it is short, plain and holds no run of digits that
/// could be a number somebody has.
pub fn printable(name: &str, known: bool, n: usize) -> String {
    let plain = (1..=64).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && !name.starts_with(|c: char| c.is_ascii_digit());
    let digits = name.bytes().filter(u8::is_ascii_digit).count();
    let shown = known && name.len() <= 128 && !name.chars().any(char::is_control);
    if shown || (plain && digits < 5) { name.to_owned() } else { format!("<unknown#{n}>") }
}

/// Characters that an editor does not show, or that turn the text around: what was read would not
/// be what is signed (CVE-2021-42574).
pub fn hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{ad}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn names_that_may_be_data_are_numbered() {
        assert_eq!(printable("passport", false, 1), "passport");
        for data in ["ada@example.com", "4111111111111111", "id_49301234567", "", "a b", "é"] {
            assert_eq!(printable(data, false, 2), "<unknown#2>");
        }
        assert_eq!(printable("street name", true, 1), "street name");
        assert_eq!(printable(&"x".repeat(129), true, 3), "<unknown#3>");
        assert_eq!(printable("two\nlines", true, 3), "<unknown#3>");
    }
}
