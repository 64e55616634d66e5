//! The house rules that a program can hold: arrows between rooms, sizes, names that belong to one room.
//! Each failure is a sentence that says what is wrong and why it matters.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use regex::Regex;

/// Rooms from the ground up. A room may use those left of it in this list.
const ROOMS: [&str; 18] = [
    "job",
    "settings",
    "net",
    "telemetry",
    "queue",
    "store",
    "llm",
    "embed",
    "workflow",
    "table",
    "intent",
    "planner",
    "tools",
    "agents",
    "lanes",
    "worker",
    "http",
    "cli",
];

const MAX_FILE_LINES: usize = 500;
const MAX_FUNCTION_LINES: usize = 70;

/// A Rust file: where it is, its text, and its text with strings and comments blanked out.
struct Source {
    path: String,
    text: String,
    code: String,
}

impl Source {
    /// The room under `src/`, or nothing for `lib.rs` and `main.rs`.
    fn room(&self) -> Option<&str> {
        let first = self.path.strip_prefix("src/")?.split('/').next()?;
        let name = first.trim_end_matches(".rs");
        (name != "lib" && name != "main").then_some(name)
    }

    fn is_test(&self) -> bool {
        self.path.starts_with("tests/")
            || self.path.starts_with("benches/")
            || self.path.ends_with("/tests.rs")
            || self.path.contains("/tests/")
    }

    /// The code before its own unit tests.
    fn product_code(&self) -> &str {
        self.code.split("#[cfg(test)]").next().unwrap_or_default()
    }

    fn line_of(&self, offset: usize) -> usize {
        self.code[..offset].matches('\n').count() + 1
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file of the house, read once: blanking is slow in a debug build.
static SOURCES: LazyLock<Vec<Source>> = LazyLock::new(|| {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = ["src", "tests", "benches", "fuzz"].map(|folder| root().join(folder)).into();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("target") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push(Source { path: relative(&path), code: blank(&text), text });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(found.iter().any(|source| source.path == "src/lib.rs"), "no sources found");
    found
});

/// The files under `folder`.
fn sources(folder: &str) -> impl Iterator<Item = &'static Source> {
    SOURCES.iter().filter(move |source| source.path.starts_with(folder))
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().to_string_lossy().replace('\\', "/")
}

/// Blanks out comments, strings and character literals, and keeps every byte's place.
fn blank(text: &str) -> String {
    static TOKEN: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(concat!(
            r###"(?s)//[^\n]*|/\*.*?\*/|b?r"[^"]*"|b?r#".*?"#|b?r##".*?"##|"###,
            r####"b?r###".*?"###|b?"(?:\\.|[^"\\])*"|b?'(?:\\(?:u\{[^}]*\}|x..|.)|[^'\\])'"####
        ))
        .unwrap()
    });
    let mut out = text.as_bytes().to_vec();
    for found in TOKEN.find_iter(text) {
        for byte in &mut out[found.range()] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
    }
    String::from_utf8(out).unwrap()
}

/// Where the bracket that opens at `open` is closed.
fn closing(code: &str, open: usize) -> usize {
    let (up, down) = match code.as_bytes()[open] {
        b'{' => (b'{', b'}'),
        _ => (b'(', b')'),
    };
    let mut depth = 0_usize;
    for (i, byte) in code.bytes().enumerate().skip(open) {
        if byte == up {
            depth += 1;
        } else if byte == down {
            depth -= 1;
            if depth == 0 {
                return i;
            }
        }
    }
    code.len()
}

/// The rooms that `code` names behind `crate::`, with the offset of each mention.
fn rooms_used(code: &str) -> Vec<(usize, String)> {
    let mention = Regex::new(r"\bcrate::(?:(\w+)|\{)").unwrap();
    let mut used = Vec::new();
    for found in mention.captures_iter(code) {
        let whole = found.get(0).unwrap();
        if let Some(room) = found.get(1) {
            used.push((whole.start(), room.as_str().to_owned()));
            continue;
        }
        let open = whole.end() - 1;
        let mut depth = 0;
        let mut fresh = true;
        for (i, c) in code[open..closing(code, open)].char_indices() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 1 => fresh = true,
                c if depth == 1 && fresh && (c.is_alphanumeric() || c == '_') => {
                    let name = code[open + i..].split(|c: char| !c.is_alphanumeric() && c != '_').next();
                    used.push((open + i, name.unwrap_or_default().to_owned()));
                    fresh = false;
                }
                _ => {}
            }
        }
    }
    used
}

fn report(faults: Vec<String>) {
    let mut text = String::new();
    for fault in &faults {
        let _infallible = writeln!(text, "  {fault}");
    }
    assert!(faults.is_empty(), "{} untidy place(s):\n{text}", faults.len());
}

#[test]
fn arrows_between_rooms_go_one_way() {
    let place = |room: &str| ROOMS.iter().position(|known| *known == room);
    let mut faults = Vec::new();
    for source in sources("src") {
        let Some(room) = source.room() else { continue };
        let Some(own) = place(room) else {
            faults.push(format!("{}: the room `{room}` has no place in the order of rooms: give it one", source.path));
            continue;
        };
        for (offset, used) in rooms_used(&source.code) {
            let line = source.line_of(offset);
            match place(&used) {
                Some(other) if other <= own => {}
                Some(_) => faults.push(format!(
                    "{}:{line}: `{room}` uses `{used}`, which stands above it: turn the arrow round with a trait or move the code, or `{room}` can no longer be understood and tested alone",
                    source.path
                )),
                None => faults.push(format!("{}:{line}: `crate::{used}` is no room of the house", source.path)),
            }
        }
    }
    report(faults);
}

#[test]
fn every_room_is_on_the_map() {
    let map = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let mut faults = Vec::new();
    let mut declared = Vec::new();
    for entry in fs::read_dir(root().join("src")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        if name == "lib" || name == "main" {
            continue;
        }
        if !map.contains(&format!("[`{name}`]")) {
            faults.push(format!("src/lib.rs: the map has no row for `{name}`: a newcomer would not find the room"));
        }
        if map.contains(&format!("pub mod {name};")) {
            declared.push(name);
        } else {
            faults.push(format!("src/lib.rs: `{name}` is not declared, so nothing compiles or tests it"));
        }
    }
    for line in map.lines().filter_map(|line| line.strip_prefix("pub mod ")) {
        let name = line.trim_end_matches(';').to_owned();
        if !declared.contains(&name) {
            faults.push(format!("src/lib.rs: `{name}` is declared but is no room under src/"));
        }
    }
    report(faults);
}

#[test]
fn files_stay_short_enough_to_read() {
    let faults = ["src", "tests", "benches", "fuzz"].into_iter().flat_map(sources).filter_map(|source| {
        let lines = source.text.lines().count();
        (lines >= MAX_FILE_LINES).then(|| {
            format!(
                "{}: {lines} lines, at most {} are read in one sitting: split it by subject",
                source.path,
                MAX_FILE_LINES - 1
            )
        })
    });
    report(faults.collect());
}

#[test]
fn functions_stay_short_enough_to_see_whole() {
    let head = Regex::new(r"\bfn\s+(\w+)").unwrap();
    let mut faults = Vec::new();
    for source in ["src", "tests"].into_iter().flat_map(sources) {
        for found in head.captures_iter(&source.code) {
            let start = found.get(0).unwrap().start();
            let Some(open) = body_of(&source.code, start) else { continue };
            let lines = source.code[start..closing(&source.code, open)].matches('\n').count() + 1;
            // Tables of a test are data: their length says nothing about how hard they are to follow.
            if lines >= MAX_FUNCTION_LINES && !source.is_test() {
                faults.push(format!(
                    "{}:{}: `{}` has {lines} lines, at most {} fit on a screen: take out the parts that have a name",
                    source.path,
                    source.line_of(start),
                    &found[1],
                    MAX_FUNCTION_LINES - 1
                ));
            }
        }
    }
    report(faults);
}

/// The brace that opens the body of the function at `start`; nothing for a declaration.
fn body_of(code: &str, start: usize) -> Option<usize> {
    let mut depth = 0_i32;
    for (i, c) in code[start..].char_indices() {
        match c {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            '{' if depth == 0 => return Some(start + i),
            ';' if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

/// Names that belong to one place: pattern, who may use it, why.
const RESERVED: &[(&str, &[&str], &str)] = &[
    (
        r"\breqwest::(?:Client\b|\{[^}]*\bClient\b)",
        &["src/net/", "src/net.rs"],
        "only `net` builds HTTP clients, so that the address policy, limits and timeouts hold for every request",
    ),
    (
        r"(?:^|[^:\w])(?:deadpool_)?redis::",
        &["src/queue/", "src/store/"],
        "only `queue` and `store` speak Redis, so that keys, scripts and reconnects are known in two rooms",
    ),
    (
        r"\bstd::process::exit\b",
        &["src/main.rs"],
        "an exit in the middle loses buffered events and held results: return an error instead",
    ),
    (
        r"\b(?:println|eprintln|print|eprint)!",
        &["src/cli/", "src/main.rs"],
        "output belongs to `cli`, and what the program does belongs into the log",
    ),
];

#[test]
fn names_that_belong_to_one_room_stay_there() {
    let mut faults = Vec::new();
    for (pattern, allowed, why) in RESERVED {
        let pattern = Regex::new(&format!("(?m){pattern}")).unwrap();
        for source in sources("src") {
            if source.is_test() || allowed.iter().any(|path| source.path.starts_with(path)) {
                continue;
            }
            let code = source.product_code();
            for found in pattern.find_iter(code) {
                let line = source.line_of(found.end());
                let name = found.as_str().trim();
                faults.push(format!("{}:{line}: `{name}` does not belong here: {why}", source.path));
            }
        }
    }
    report(faults);
}

#[test]
fn tables_and_workflows_know_no_runtime() {
    let runtime = Regex::new(r"\btokio(?:_util)?::").unwrap();
    let mut faults = Vec::new();
    for source in sources("src") {
        let pure = matches!(source.room(), Some("job" | "table" | "workflow"));
        if !pure
            || source.path == "src/workflow/orchestrator.rs"
            || source.path.starts_with("src/workflow/orchestrator/")
        {
            continue;
        }
        for found in runtime.find_iter(source.product_code()) {
            faults.push(format!(
                "{}:{}: this room knows no async runtime: its work is computation, and its callers decide where it runs",
                source.path,
                source.line_of(found.start())
            ));
        }
    }
    report(faults);
}

#[test]
fn lints_are_expected_with_a_reason_and_nothing_is_left_for_later() {
    let allow = Regex::new(r"#!?\[allow\(").unwrap();
    let later = Regex::new(concat!(r"\b(?:TO", r"DO|FIX", r"ME|XX", r"X|HA", r"CK)\b")).unwrap();
    let mut faults = Vec::new();
    for source in ["src", "tests", "benches"].into_iter().flat_map(sources) {
        for found in allow.find_iter(&source.code) {
            let end = closing(&source.code, found.end() - 1);
            let with_reason = source.code[found.start()..end].contains("reason");
            // `allow` is for tests, where one file serves several binaries and an expectation may not come true.
            if !source.is_test() || !with_reason {
                faults.push(format!(
                    "{}:{}: a bare `allow` outlives its cause: write `#[expect(…, reason = \"…\")]`",
                    source.path,
                    source.line_of(found.start())
                ));
            }
        }
        for found in later.find_iter(&source.text) {
            faults.push(format!(
                "{}:{}: `{}` promises work nobody is bound to do: do it, or leave it out",
                source.path,
                source.text[..found.start()].matches('\n').count() + 1,
                found.as_str()
            ));
        }
    }
    report(faults);
}

#[test]
fn the_scanner_sees_code_and_not_text() {
    let code = blank("let a = \"crate::cli\"; // crate::http\nlet b = '{'; let c: &'static str = r#\"}\"#; x('\\'');");
    assert!(!code.contains("crate") && !code.contains('{') && !code.contains('}'), "{code}");
    assert!(code.contains("&'static str"), "{code}");
    let used = rooms_used("use crate::{job::{Job, queue}, settings as s};\nfn f() -> crate::net::Policy {}");
    let names: Vec<&str> = used.iter().map(|(_, name)| name.as_str()).collect();
    assert_eq!(names, ["job", "settings", "net"]);
    let long = "fn a(x: [u8; 3]) where T: B { if c { } }\nfn b();";
    let open = long.find('{');
    assert_eq!(body_of(long, 0), open);
    assert_eq!(closing(long, open.unwrap()), long.rfind('}').unwrap());
    assert_eq!(body_of(long, long.rfind("fn").unwrap()), None);
}
