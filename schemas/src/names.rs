//! Which names and characters may be printed. A name can be data: a map key, a JSON member of a record without a
//! registered schema.

/// A name in a form that may stand in an error, a log line or a status.
///
/// `known` says that the name stands in a registered schema or in the pipeline's YAML. An unknown
/// name is printed as `<unknown#n>` unless it is short, plain and holds no run of digits that
/// could be a number somebody has. What is written as keys and addresses are is printed in neither
/// case: a registry takes what a producer sends, also a schema made from the keys of a map.
pub fn printable(name: &str, known: bool, n: usize) -> String {
    let plain = (1..=64).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && !name.starts_with(|c: char| c.is_ascii_digit());
    let digits = name.bytes().filter(u8::is_ascii_digit).count();
    let registered = known && name.len() <= 128 && !name.chars().any(char::is_control);
    let harmless = registered || (plain && digits < 5);
    if harmless && !is_somebodys(name) { name.to_owned() } else { format!("<unknown#{n}>") }
}

/// The name of a topic that no file names, as [`printable`]. Topics have dates in their names, and are
/// made by people: a part between points has fewer than nine digits.
pub fn printable_topic(topic: &str, n: usize) -> String {
    let plain = |part: &str| {
        let digits = part.bytes().filter(u8::is_ascii_digit).count();
        let named = part.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
        named && digits < 9 && !part.split('-').any(is_somebodys)
    };
    let shown = topic.len() <= 249 && topic.split('.').all(plain);
    if shown { topic.to_owned() } else { format!("<unknown#{n}>") }
}

/// What is somebody's though it is made of letters, a few digits and `_`. Everything else that the
/// detectors find has a mark or five digits in it; a test of `transforms` holds the two together.
/// Without their check digits: a name that is hidden for nothing can be asked for, one that is
/// shown cannot be taken back.
fn is_somebodys(name: &str) -> bool {
    name.contains('@') || is_issued(name) || name.split('_').any(|part| is_no_word(part.as_bytes()))
}

/// A key of a programming interface, by what its issuer lets it begin with.
fn is_issued(name: &str) -> bool {
    /// And the least of what follows.
    const BEGINNINGS: [(&str, usize); 14] = [
        ("ghp_", 36),
        ("gho_", 36),
        ("ghu_", 36),
        ("ghs_", 36),
        ("ghr_", 36),
        ("github_pat_", 22),
        ("sk_live_", 16),
        ("sk_test_", 16),
        ("rk_live_", 16),
        ("rk_test_", 16),
        ("pk_live_", 16),
        ("pk_test_", 16),
        ("whsec_", 24),
        ("npm_", 36),
    ];
    // A key goes on without a `_` for as long; words have one before.
    let first = |rest: &str| rest.split('_').next().map_or(0, str::len);
    BEGINNINGS
        .iter()
        .any(|(begin, least)| name.strip_prefix(begin).is_some_and(|rest| first(rest) >= *least))
        || (name.starts_with("AIza") && name.len() >= 39)
}

/// A part of a name between `_` that nobody made of words.
fn is_no_word(part: &[u8]) -> bool {
    let starts = |heads: &[&str]| {
        heads
            .iter()
            .any(|h| part.get(..h.len()).is_some_and(|b| b.eq_ignore_ascii_case(h.as_bytes())))
    };
    let aws = part.len() == 20
        && starts(&["AKIA", "ASIA", "AROA", "AIDA"])
        && part.iter().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
    // BIP 173: no 1, b, i, o behind the separator.
    let bech32 = part.len() >= 23
        && starts(&["bc1", "tb1"])
        && part[3..].iter().all(|b| b.is_ascii_alphanumeric() && !b"1bioBIO".contains(b));
    // No word of twelve letters is made of the first six; a hash, a hardware address is.
    let hex = part.len() >= 12 && part.iter().all(u8::is_ascii_hexdigit);
    aws || bech32 || hex || is_codice_fiscale(part) || is_random(part)
}

/// A tax code of Italy, whose digits may be letters (`omocodia`).
fn is_codice_fiscale(part: &[u8]) -> bool {
    /// A letter, a digit or what stands for one, a month.
    const FORM: &[u8; 16] = b"AAAAAA99M99A999A";
    let fits = |(form, byte): (&u8, &u8)| {
        let byte = byte.to_ascii_uppercase();
        match form {
            b'A' => byte.is_ascii_uppercase(),
            b'9' => byte.is_ascii_digit() || b"LMNPQRSTUV".contains(&byte),
            _ => b"ABCDEHLMPRST".contains(&byte),
        }
    };
    part.len() == FORM.len() && FORM.iter().zip(part).all(fits)
}

/// Twenty signs or more with digits in three places of it, which are no words in `camelCase`: those
/// have more than two and a half letters each, what is drawn by chance rarely.
fn is_random(part: &[u8]) -> bool {
    let groups = part.chunk_by(|a, b| a.is_ascii_digit() == b.is_ascii_digit());
    let places = groups.filter(|group| group[0].is_ascii_digit()).count();
    let has = |case: fn(&u8) -> bool| part.iter().any(case);
    let in_camel_case = has(u8::is_ascii_lowercase) && has(u8::is_ascii_uppercase);
    part.len() >= 20 && places >= 3 && !(in_camel_case && has_words(part))
}

/// A word begins behind a digit and at a hump; of capitals in a row the last one begins it where a
/// small letter follows.
fn has_words(part: &[u8]) -> bool {
    let small = |at: usize| part.get(at).is_some_and(u8::is_ascii_lowercase);
    let begins = |at: usize| match at.checked_sub(1).map(|before| part[before]) {
        Some(b'a'..=b'z') => part[at].is_ascii_uppercase(),
        Some(b'A'..=b'Z') => part[at].is_ascii_uppercase() && small(at + 1),
        _ => part[at].is_ascii_alphabetic(),
    };
    let letters = part.iter().filter(|byte| byte.is_ascii_alphabetic()).count();
    letters * 2 > (0..part.len()).filter(|at| begins(*at)).count() * 5
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
    use super::{printable, printable_topic};

    #[test]
    fn names_that_may_be_data_are_numbered() {
        assert_eq!(printable("passport", false, 1), "passport");
        for data in DATA.iter().chain(&KEYS) {
            assert_eq!(printable(data, false, 2), "<unknown#2>", "{data}");
        }
        assert_eq!(printable("street name", true, 1), "street name");
        assert_eq!(printable(&"x".repeat(129), true, 3), "<unknown#3>");
        assert_eq!(printable("two\nlines", true, 3), "<unknown#3>");
    }

    /// Also where a registry has it.
    #[test]
    fn keys_and_addresses_are_numbered_wherever_their_name_stands() {
        for data in KEYS {
            assert_eq!(printable(data, true, 2), "<unknown#2>", "{data}");
        }
        assert_eq!(printable("ada@example.com", true, 2), "<unknown#2>");
        // The control: without that rule they are plain, and the count of digits lets them by.
        for data in KEYS {
            let digits = data.bytes().filter(u8::is_ascii_digit).count();
            assert!(digits < 5 && data.len() <= 64, "{data}");
        }
    }

    #[test]
    fn control_names_of_columns_are_shown() {
        let columns: Vec<&str> = COLUMNS.split_whitespace().collect();
        assert!(columns.len() >= 250, "{}", columns.len());
        for known in [false, true] {
            let hidden: Vec<&str> =
                columns.iter().copied().filter(|c| printable(c, known, 1) != *c).collect();
            assert_eq!(hidden, Vec::<&str>::new());
        }
        for known in REGISTERED {
            assert_eq!(printable(known, true, 1), known);
            assert_eq!(printable(known, false, 1), "<unknown#1>");
        }
    }

    #[test]
    fn topics_that_may_be_data_are_numbered() {
        for topic in
            ["crm.public.orders", "dbz-2026-01-01.inventory.customers_v2", "__x", "a.b-c_d"]
        {
            assert_eq!(printable_topic(topic, 1), topic);
        }
        for topic in [
            "crm.4111111111111111",
            "crm.DE89370400440532013000",
            "of.49-1512-345678",
            "crm.AKIAIOSFODNN7EXAMPLE",
            "crm.x-acdefbadface",
            "a b",
        ] {
            assert_eq!(printable_topic(topic, 3), "<unknown#3>", "{topic}");
        }
    }

    /// With a mark, or digits.
    const DATA: [&str; 34] = [
        "",
        "a b",
        "é",
        "ada@example.com",
        "jane.doe@example.org",
        "jane.doe+x@example.org",
        "ada@example",
        "4111111111111111",
        "4111 1111 1111 1111",
        "card_4111111111111111",
        "id_49301234567",
        "DE89370400440532013000",
        "DE89 3704 0044 0532 0130 00",
        "GB82WEST12345698765432",
        "MT84MALT011000012345MTLCAST001S",
        "+49 30 1234567",
        "(212) 555-0123",
        "p_2125550123",
        "192.168.0.17",
        "2001:db8::1",
        "00:1b:44:11:3a:b7",
        "https://ada:pw@example.org/x",
        "www.example.org",
        "-----BEGIN PRIVATE KEY-----",
        "xoxb-123456789012-abcdefghijkl",
        "glpat-abcdEFGH1234ijkl5678",
        "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa",
        "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
        "078-05-1120",
        "AB123456C",
        "RSSMRA85T10A562S",
        "Ada Lovelace",
        "550e8400-e29b-41d4-a716-446655440000",
        "B-MA 1234",
    ];

    /// Of letters, few digits and `_`, made up but for AWS's own example.
    const KEYS: [&str; 15] = [
        "AKIAIOSFODNN7EXAMPLE",
        "ghp_abcdefghijklmnopqrstuvwxyzABCDEFGHIJ",
        "github_pat_abcdefghijklmnopqrstuvwx",
        "sk_live_abcdefghijklmnop",
        "whsec_abcdefghijklmnopqrstuvwx",
        "npm_abcdefghijklmnopqrstuvwxyzABCDEFGHIJ",
        "AIzaSyAabcdefghijklmnopqrstuvwxyzABCDEF",
        "bc1qwdqejxtdgyrzarvarycxwkvftpzry",
        "RSSMRAURTMLAPSNS",
        "key_of_acdefbadface",
        "a1b2cdefghijk3lmnopq",
        "token_Kx7dQmWzPf4tRbNvYc2L",
        "pT4vXGqLr9ZkWbn2HsYdJc",
        "sk_test_abcdefghijklmnop_2",
        "github_pat_abcdefghijklmnopqrstuv_abcdefghijklmnop",
    ];

    const COLUMNS: &str = "\
        id uuid guid key value name first_name last_name full_name middle_name maiden_name nickname \
        e_mail email email_address mail phone phone_number mobile fax iban bic swift ssn tax_id vat \
        vat_id nino passport passport_no driver_license license_plate plate card card_number cvv \
        street street_name house_no address address_line_1 address2 city town state country \
        country_code zip zip_code postcode postal_code region county district lat lon latitude \
        longitude location birth_date date_of_birth dob birthday age gender sex title salutation \
        language locale currency amount price balance balance_cents total subtotal discount tax rate \
        quantity qty unit weight height width length size color status status_2 state_code type kind \
        category tag tags label description notes note comment comments message body subject text \
        url link website homepage ip ip_address ipv4 ipv6 mac mac_address user_agent session \
        session_id token api_key password password_hash secret login username user user_id owner \
        owner_id customer customer_id client client_id account account_no order order_id orders \
        order_no invoice invoice_no product product_id sku ean isbn item items shop store branch \
        created created_at created_by updated updated_at modified deleted deleted_at version \
        revision op ts ts_ms source schema table db lsn xid snapshot sequence before after \
        payload meta metadata headers prefs settings flags enabled active is_active is_deleted \
        may mark will grace rose june april summer march august max min sum avg count art bill \
        paris_office employer company department manager role team job position salary iban2 \
        column_1 field_12 f1 c2 attr_0 utm_source utm_campaign referrer lead score points level \
        x y z a b c i j k lat_lon geo point polygon shape the_geom checksum hash digest sha256 md5 \
        sha256_digest sha512 utf8_name base64 oauth2_token iso639_code iso8601_date p95_latency \
        q1_revenue q2_revenue fy2026 y2k_flag h3_index s3_bucket ec2_instance x509_subject \
        CamelCase customerId firstName orderTotal createdAt ID URL SSN IBAN EMAIL NAME STATUS \
        customerBillingAddressLine2 numberOfOpenInvoicesInTheLast12Months isHeadOfHousehold \
        EXTREMELY_LONG_LEGACY_COLUMN_NAME_OF_A_MAINFRAME KUNDENNUMMER ANSCHRIFTSZUSATZ2 \
        internationalisierungskennzeichen bc1_balance tb1_customers tb1payments facade deadbeef \
        pk_test_id sk_live npm_package ghp_count github_pat whsec AKIA __op __deleted _id _rev \
        sk_test_result_dimension sk_live_broadcast_session_id pk_test_customer_account \
        npm_package_weekly_download_count_last_30_days ghs_hazard_classification_pictogram_code_list_v2 \
        whsec_rotation_interval_seconds_max covid19Dose2Vaccine1Date covid19Dose1Dose2IntervalDays \
        address1Line2Floor3Text hba1cGlucose2hPost75gOgttMmol vitB12B6D3SupplementFlag \
        co2ch4n2oEmissionFactor customerIBAN2BIC3SWIFT4Code";

    /// Five digits or more: shown where a registry has them.
    const REGISTERED: [&str; 3] =
        ["last7Days30Days90DaysAverage", "age18To24Or25To34Flag", "covid19Dose1Of2Dose2Of2"];
}
