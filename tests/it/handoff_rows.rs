//! Networks, tiers and pools over scripted replies: every message and tool that is sent, every entry of the trail,
//! every event. Each row is played again by processes that die after each step.

use std::path::Path;

use crate::support::troupe::{Row, play, play_dying, rows};

/// Plays every row of a file; what came of rows that differ is written beside the build.
async fn check(name: &str, least: usize) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/handoffs").join(name);
    let text = std::fs::read_to_string(&path).unwrap();
    let rows = rows(&text);
    assert!(rows.len() >= least, "{name} has {} rows", rows.len());
    let mut different = String::new();
    for row in &rows {
        let played = play(row).await;
        let got = played.lines.join("\n");
        if got != row.want {
            different.push_str(&format!("== {}\n{}\n", row.name, got));
        }
        survives_deaths(row, &played.lines).await;
    }
    if !different.is_empty() {
        let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::write(&out, &different).unwrap();
        panic!("rows of {name} came out differently; see {}:\n{different}", out.display());
    }
}

/// The same row by processes that die after every one, two and three entries of the journal: no model call and no
/// tool call is made twice, and result and trail are the same.
async fn survives_deaths(row: &Row, whole: &[String]) {
    let told = |lines: &[String]| -> Vec<String> {
        lines.iter().filter(|line| !line.starts_with("  events")).cloned().collect()
    };
    for every in 1..=3 {
        let again = play_dying(row, every).await;
        assert_eq!(told(&again.lines), told(whole), "{}: dying after every {every} entries", row.name);
    }
}

#[tokio::test]
async fn networks() {
    check("network.txt", 60).await;
}

#[tokio::test]
async fn tiers() {
    check("tiers.txt", 50).await;
}

#[tokio::test]
async fn pools() {
    check("pools.txt", 40).await;
}

/// On a clock that is moved by hand: a model that never answers, and one that answers a new question too late.
#[tokio::test(start_paused = true)]
async fn a_network_ends_with_its_wall_clock() {
    let row = rows(
        "@@ a\nagents: [{id: a, handoffs: [b]}, {id: b}]\n== r\nset timeout=30\n\
         job {\"prompt\":\"p\",\"handoff\":{\"agent\":\"a\"}}\n< call transfer_to_b\n< (silence)\n--\n",
    );
    let played = play(&row[0]).await;
    let end = played.lines.iter().find(|line| line.starts_with("= ")).unwrap();
    assert_eq!(
        end,
        "= timeout wall_clock: the agents took longer than 30 s: raise network.timeout_secs or ask for less"
    );
    assert!(played.lines.iter().any(|line| line.starts_with("  stop b wall_clock")), "{:?}", played.lines);
}
