//! The words of the grammar, as data.

use std::sync::LazyLock;

use rustc_hash::FxHashSet;

/// Words that carry nothing, wherever they stand.
#[rustfmt::skip]
pub(super) const FILLERS: &[&str] = &[
    "please", "pls", "plz", "kindly", "me", "the", "a", "an", "can", "could", "would", "will", "you", "i", "id",
    "im", "we", "us", "want", "need", "like", "wish", "show", "list", "give", "get", "display", "print", "find",
    "return", "fetch", "retrieve", "tell", "let", "lets", "see", "present", "pull", "output", "view", "look",
    "grab", "load", "bring", "download", "read", "my", "our", "these", "those", "this", "that", "them", "it",
    "its", "is", "are", "was", "were", "be", "what", "whats", "which", "who", "whose", "here", "there", "hi",
    "hey", "hello", "thanks", "thank", "thx", "cheers", "now", "just", "only", "simply", "quickly", "also", "so",
    "ok", "okay", "of", "to", "for", "do", "does", "did", "have", "has", "had", "out", "up", "both", "some",
    "every", "each", "any", "all", "in", "at", "use", "using", "take", "keep", "with", "having", "where",
    "should", "must", "needs", "shall", "may", "filter", "filtered", "select", "calculate", "compute", "work",
    "determine", "pick", "first", "then", "by", "from", "well", "and", "but", "plus", "or", "one", "whole",
    "entire", "full", "query", "summarize", "summarise", "they", "ones", "today", "search", "available",
    "ordered", "as", "been", "not", "per",
];

/// Phrases that carry nothing, longest first where one begins another.
#[rustfmt::skip]
pub(super) const FILLER_PHRASES: &[&str] = &[
    "i would like you to", "i would like to see", "i would like to", "i would like", "would you mind",
    "if possible", "if you can", "if you could", "when you can", "do me a favor and", "do me a favour and",
    "thank you", "for me", "for us", "as a table", "as a list", "from the data", "from the table",
    "from the list", "from the dataset", "from the file", "from the rows", "from the results", "from the result",
    "from this data", "from this table", "from this list", "from these", "from those", "from them",
    "in the data", "in the table", "in the list", "in the dataset", "in the file", "in this table",
    "in this list", "in this data", "in this file", "of the data", "of the table", "in total", "in all",
    "are there", "is there", "there are", "there is", "right now", "go ahead and", "can you", "could you",
    "would you", "will you", "i want to", "i need to", "i want", "i need", "we need", "we want", "show me",
    "give me", "get me", "tell me", "let me see", "let me", "lets see", "what are", "what is", "whats",
    "how about", "as well", "by the way", "of course", "take a look at", "have a look at", "look at", "work out",
    "figure out", "pick out", "do we have", "have we got", "do i have", "i have", "we have", "in our data",
    "out of the data", "out of",
];

/// Words that may stand alone at any place: the frame of a request, and nothing that narrows or changes it.
#[rustfmt::skip]
pub(super) const LOOSE: &[&str] = &[
    "please", "pls", "plz", "kindly", "me", "the", "a", "an", "can", "could", "would", "will", "you", "i", "id",
    "im", "we", "us", "want", "need", "like", "wish", "show", "list", "give", "get", "display", "print", "find",
    "return", "fetch", "retrieve", "tell", "let", "lets", "see", "present", "pull", "output", "view", "look",
    "grab", "load", "bring", "download", "read", "my", "our", "these", "those", "this", "them", "it", "its",
    "is", "are", "was", "were", "be", "what", "whats", "which", "here", "there", "hi", "hey", "hello", "thanks",
    "thank", "thx", "cheers", "now", "just", "only", "simply", "quickly", "also", "so", "ok", "okay", "to", "do",
    "does", "did", "have", "all", "both", "take", "keep", "filter", "select", "should", "must", "needs",
    "calculate", "compute", "determine", "pick", "well", "whole", "entire", "full", "they", "search", "use",
    "using", "filtered", "been", "shown", "displayed", "listed", "returned", "again",
];

/// Nouns for rows of any kind.
#[rustfmt::skip]
pub(super) const ROWS: &[&str] = &[
    "row", "rows", "record", "records", "entry", "entries", "item", "items", "result", "results", "line",
    "lines", "data", "table", "dataset", "list", "ones", "object", "objects", "element", "elements",
    "everything", "document", "documents",
];

/// Nouns that ask for a kind of work that is not in the grammar: never a name for rows.
#[rustfmt::skip]
pub(super) const ANALYSES: &[&str] = &[
    "outliers", "anomalies", "trends", "patterns", "correlations", "differences", "changes", "insights",
    "summaries", "charts", "graphs", "plots", "histograms", "statistics", "stats", "percentiles", "forecasts",
    "predictions", "weekends", "weekdays", "holidays", "weeks", "days", "months", "years", "hours", "minutes",
    "quarters", "ratios", "percentages", "averages", "totals", "sums", "counts", "means", "medians", "reports",
    "clusters", "segments", "groups", "steps", "nodes", "workflows", "branches", "edges", "schedules", "alerts",
    "notifications", "duplicates", "columns", "fields", "tables", "files", "always", "sometimes", "perhaps",
    "values", "names", "less", "plus", "minus", "times",
];

/// Every word that means something to the grammar: none of them is a value, a row noun or an unseen column.
pub(super) fn reserved(word: &str) -> bool {
    static RESERVED: LazyLock<FxHashSet<&'static str>> = LazyLock::new(|| {
        let more = "sort sorted order ordered rank ranked arrange arranged by ascending descending asc desc top bottom last \
            cheapest highest lowest most least largest smallest biggest newest oldest latest earliest longest shortest \
            under over above below between than more less fewer greater lower higher equal equals exceeds contains containing contain starts \
            ends starting ending matches matching without except excluding exclude remove drop omit hide delete skip limit offset count sum \
            total average mean avg median min max minimum maximum number many much how distinct unique different group \
            grouped rename column columns field fields null missing empty blank blanks not no nor neither either if when \
            before after since until on then and or per each every through rows row records record entries entry \
            duplicates duplicate dedupe deduplicate inside outside into as finally afterwards dont never fastest slowest cheaper \
            expensive best worst first second third least up add ascending including include includes is isnt arent percent values value older younger newer later earlier longer shorter heavier lighter taller faster slower \
            named called living live lives located based costing costs cost priced worth earning earns earn aged lasting weighing rated \
            flying leaving departing arriving going heading bound coming dated next";
        more.split_whitespace().chain(FILLERS.iter().copied()).collect()
    });
    RESERVED.contains(word)
}
