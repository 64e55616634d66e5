//! Comparisons and the words for them, as data.

/// Comparisons, as the pipeline knows them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    In,
    NotIn,
    Between,
    Contains,
    NotContains,
    StartsWith,
    EndsWith,
    Matches,
}

impl Op {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Eq => "==",
            Self::Ne => "!=",
            Self::Lt => "<",
            Self::Le => "<=",
            Self::Gt => ">",
            Self::Ge => ">=",
            Self::In => "in",
            Self::NotIn => "not_in",
            Self::Between => "between",
            Self::Contains | Self::NotContains => "contains",
            Self::StartsWith => "starts_with",
            Self::EndsWith => "ends_with",
            Self::Matches => "matches",
        }
    }
}

/// Comparisons that need no field before them.
pub(super) const COMPARATORS: &[(&str, Op)] = &[
    ("greater than or equal to", Op::Ge),
    ("less than or equal to", Op::Le),
    ("more than or equal to", Op::Ge),
    ("equal to or greater than", Op::Ge),
    ("equal to or less than", Op::Le),
    ("no less than", Op::Ge),
    ("not less than", Op::Ge),
    ("no fewer than", Op::Ge),
    ("no more than", Op::Le),
    ("not more than", Op::Le),
    ("no greater than", Op::Le),
    ("no higher than", Op::Le),
    ("no lower than", Op::Ge),
    ("not over", Op::Le),
    ("not above", Op::Le),
    ("not under", Op::Ge),
    ("not below", Op::Ge),
    ("at least", Op::Ge),
    ("at most", Op::Le),
    ("up to", Op::Le),
    ("a minimum of", Op::Ge),
    ("a maximum of", Op::Le),
    ("minimum of", Op::Ge),
    ("maximum of", Op::Le),
    ("greater than", Op::Gt),
    ("more than", Op::Gt),
    ("higher than", Op::Gt),
    ("bigger than", Op::Gt),
    ("larger than", Op::Gt),
    ("less than", Op::Lt),
    ("fewer than", Op::Lt),
    ("lower than", Op::Lt),
    ("smaller than", Op::Lt),
    ("over", Op::Gt),
    ("above", Op::Gt),
    ("exceeding", Op::Gt),
    ("exceeds", Op::Gt),
    ("exceed", Op::Gt),
    ("beyond", Op::Gt),
    ("under", Op::Lt),
    ("below", Op::Lt),
    ("within", Op::Le),
    (">=", Op::Ge),
    ("=>", Op::Ge),
    ("≥", Op::Ge),
    ("<=", Op::Le),
    ("≤", Op::Le),
    (">", Op::Gt),
    ("<", Op::Lt),
];

/// Comparisons whose word says what is compared.
pub(super) const TELLING: &[(&str, (Op, &[&str]))] = &[
    ("cheaper than", (Op::Lt, MONEY)),
    ("less expensive than", (Op::Lt, MONEY)),
    ("more expensive than", (Op::Gt, MONEY)),
    ("costlier than", (Op::Gt, MONEY)),
    ("pricier than", (Op::Gt, MONEY)),
    ("older than", (Op::Gt, &["age"])),
    ("younger than", (Op::Lt, &["age"])),
    ("longer than", (Op::Gt, LENGTH)),
    ("shorter than", (Op::Lt, LENGTH)),
    ("heavier than", (Op::Gt, &["weight", "mass"])),
    ("lighter than", (Op::Lt, &["weight", "mass"])),
    ("taller than", (Op::Gt, &["height"])),
    ("faster than", (Op::Gt, &["speed"])),
    ("slower than", (Op::Lt, &["speed"])),
    ("after", (Op::Gt, DATES)),
    ("since", (Op::Ge, DATES)),
    ("from", (Op::Ge, DATES)),
    ("before", (Op::Lt, DATES)),
    ("until", (Op::Le, DATES)),
    ("newer than", (Op::Gt, DATES)),
    ("later than", (Op::Gt, DATES)),
    ("earlier than", (Op::Lt, DATES)),
    ("on", (Op::Eq, DATES)),
    ("in", (Op::Eq, DATES)),
    ("dated", (Op::Eq, DATES)),
];

/// Names of columns that hold money.
#[rustfmt::skip]
pub(super) const MONEY: &[&str] = &[
    "price", "cost", "fare", "amount", "revenue", "fee", "salary", "rent", "spend", "spending", "budget",
    "total", "charge", "expense", "payment", "value", "bid", "income", "wage", "balance", "turnover", "sales",
];
/// Names of columns that hold what people earn.
pub(super) const EARNINGS: &[&str] = &["salary", "income", "wage", "earning", "pay"];
/// Names of columns that hold lengths in time or space.
pub(super) const LENGTH: &[&str] = &["duration", "length", "runtime", "distance", "minute", "hour"];
/// Names of columns that hold dates.
#[rustfmt::skip]
pub(super) const DATES: &[&str] = &[
    "date", "timestamp", "datetime", "time", "day", "created", "updated", "at", "on",
];
/// No telling: the sort column or the only number decides.
pub(super) const ANY: &[&str] = &[];

/// Verbs that say what the comparison behind them is about.
pub(super) const VERBS: &[(&str, &[&str])] = &[
    ("costing", MONEY),
    ("costs", MONEY),
    ("cost", MONEY),
    ("priced at", MONEY),
    ("priced", MONEY),
    ("worth", MONEY),
    ("earning", EARNINGS),
    ("earns", EARNINGS),
    ("earn", EARNINGS),
    ("aged", &["age"]),
    ("lasting", LENGTH),
    ("weighing", &["weight", "mass"]),
    ("rated", &["rating", "score", "star"]),
];

/// What only stands after a field.
pub(super) const AFTER_FIELD: &[(&str, Op)] = &[
    ("not equal to", Op::Ne),
    ("different from", Op::Ne),
    ("other than", Op::Ne),
    ("does not equal", Op::Ne),
    ("doesnt equal", Op::Ne),
    ("not", Op::Ne),
    ("!=", Op::Ne),
    ("<>", Op::Ne),
    ("≠", Op::Ne),
    ("equal to", Op::Eq),
    ("equals", Op::Eq),
    ("==", Op::Eq),
    ("=", Op::Eq),
    (":", Op::Eq),
    ("between", Op::Between),
    ("does not contain", Op::NotContains),
    ("doesnt contain", Op::NotContains),
    ("not containing", Op::NotContains),
    ("contains", Op::Contains),
    ("contain", Op::Contains),
    ("containing", Op::Contains),
    ("includes", Op::Contains),
    ("including", Op::Contains),
    ("starts with", Op::StartsWith),
    ("start with", Op::StartsWith),
    ("starting with", Op::StartsWith),
    ("begins with", Op::StartsWith),
    ("beginning with", Op::StartsWith),
    ("ends with", Op::EndsWith),
    ("end with", Op::EndsWith),
    ("ending with", Op::EndsWith),
    ("ending in", Op::EndsWith),
    ("matches", Op::Matches),
    ("matching", Op::Matches),
    ("not in", Op::NotIn),
    ("not one of", Op::NotIn),
    ("none of", Op::NotIn),
    ("neither", Op::NotIn),
    ("one of", Op::In),
    ("any of", Op::In),
    ("among", Op::In),
    ("either", Op::In),
    ("in", Op::In),
    ("after", Op::Gt),
    ("later than", Op::Gt),
    ("newer than", Op::Gt),
    ("since", Op::Ge),
    ("from", Op::Ge),
    ("before", Op::Lt),
    ("earlier than", Op::Lt),
    ("until", Op::Le),
    ("longer than", Op::Gt),
    ("shorter than", Op::Lt),
];
