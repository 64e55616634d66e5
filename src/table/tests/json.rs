//! What is JSON and what is not, by RFC 8259.

use super::*;

fn accepted(text: &[u8]) -> bool {
    let body = Body { bytes: bytes::Bytes::copy_from_slice(text), format: Format::Json };
    columns_of(&body, 10).is_ok()
}

#[test]
fn what_must_be_accepted() {
    for text in [
        r#"[]"#,
        r#"[[]   ]"#,
        r#"{}"#,
        r#"[1E22]"#,
        r#"[0e+1]"#,
        r#"[-0]"#,
        r#"[-0.0]"#,
        r#"[123e-10000000]"#,
        r#"[1.5E+2]"#,
        "[-0.000000000000000000000000000000000000000000000000000000000000000000000000000001]",
        r#"["\u0060\u012a\u12AB"]"#,
        r#"["\uD801\udc37"]"#,
        r#"["\"\\\/\b\f\n\r\t"]"#,
        r#"["\\u0000"]"#,
        "[\"\u{7f}\"]",
        "[\"\u{2028} \u{10ffff} \u{ffff}\"]",
        r#"["\uDADA"]"#,
        r#"{"a":"b","a":"c"}"#,
        r#"{"":0}"#,
        r#"{"a":[]}"#,
        r#"null"#,
        r#"-1"#,
        r#""asd""#,
        "[\n]\n",
        " [1] ",
        "[1,\t2]",
        r#"{"x":[{"id": "x"}], "id": "y"}"#,
        r#"["a/*b*/c/*d//e"]"#,
    ] {
        assert!(accepted(text.as_bytes()), "{text}");
    }
    assert!(accepted(&[b"[".repeat(500), b"]".repeat(500)].concat()));
}

const REJECTED: &[&str] = &[
    "",
    " ",
    "[1 true]",
    "[a]",
    r#"["": 1]"#,
    r#"[""],"#,
    "[,1]",
    "[1,,2]",
    r#"["x"]]"#,
    r#"["",]"#,
    r#"["x""#,
    "[x",
    "[3[4]]",
    "[1:2]",
    "[,]",
    "[-]",
    "[\"a\", \n4,\n1,1",
    "[1,",
    "[1,]",
    "[*]",
    "[{}",
    "[fals]",
    "[nul]",
    "[tru]",
    "[++1234]",
    "[+1]",
    "[-01]",
    "[-2.]",
    "[.123]",
    "[0.1.2]",
    "[0.3e+]",
    "[0e]",
    "[1.0e-]",
    "[1 000.0]",
    "[1eE2]",
    "[2.e+3]",
    "[9.e+]",
    "[Inf]",
    "[NaN]",
    "[-NaN]",
    "[0x1]",
    "[1+2]",
    "[-1x]",
    "[012]",
    "[1.]",
    "[\u{ff11}]",
    r#"{"x"::"b"}"#,
    r#"{"a":"a" 123}"#,
    "{key: 'value'}",
    r#"{"a" b}"#,
    r#"{:"b"}"#,
    r#"{"a""#,
    r#"{"a":"#,
    r#"{"a"}"#,
    "{1:1}",
    r#"{"id":0,,,,,}"#,
    "{'a':0}",
    r#"{"id":0,}"#,
    r#"{"a":"b"}/**/"#,
    r#"{"a":"b",,"c":"d"}"#,
    "{a: \"b\"}",
    r#"{"a":"a"#,
    r#"{"a":"b"}#"#,
    r#"["\uD800\"]"#,
    r#"["\u00A"]"#,
    r#"["\x00"]"#,
    r#"["\a"]"#,
    "[\"\\\u{0}\"]",
    "[\"a\u{0}a\"]",
    "[\"new\nline\"]",
    "[\"\t\"]",
    r#""\UA66D""#,
    r#"""#,
    "abc",
    "[",
    "]",
    "<.>",
    "[1]x",
    "2@",
    r#"{"a": true} "x""#,
    "[\u{c}]",
    "[\u{2060}]",
    "'a'",
    "a\u{e5}",
    "[True]",
    "1]",
    r#"{"x": true,"#,
    "[][]",
    "{}}",
    r#"{"":"#,
    r#"["asd]"#,
];

#[test]
fn what_must_be_rejected() {
    for text in REJECTED {
        assert!(!accepted(text.as_bytes()), "{text}");
    }
    for bytes in [&b"[\"\xff\"]"[..], b"[1e\xe5]", b"[\xff]", b"{\"\xb9\":\"0\",}", &b"[".repeat(100_000)] {
        assert!(!accepted(bytes), "{:?}", &bytes[..bytes.len().min(20)]);
    }
}

#[test]
fn a_mark_of_byte_order_is_no_part_of_the_data() {
    assert!(accepted(b"\xEF\xBB\xBF[{\"a\":1}]"));
}
