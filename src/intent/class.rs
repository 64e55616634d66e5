//! What a word may be: a set of word classes, because most English verbs are nouns too.

use std::ops::BitOr;

/// A set of word classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Class(u64);

impl Class {
    /// No class: a word we know nothing about.
    pub(super) const NONE: Self = Self(0);

    /// Whether any of `other`'s classes is in this set.
    pub(super) const fn is(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub(super) const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub(super) const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOr for Class {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        self.or(other)
    }
}

macro_rules! classes {
    ($($(#[$doc:meta])* $name:ident = $bit:literal;)*) => {
        impl Class {
            $($(#[$doc])* pub(super) const $name: Self = Self(1 << $bit);)*
        }
    };
}

classes! {
    /// Verbs that ask to see something: show, list, find.
    ASK = 0;
    /// Verbs that work on a table: sort, filter, sum.
    CRUNCH = 1;
    /// Verbs that change something, a table or a workflow: add, remove, rename.
    EDIT = 2;
    /// Verbs that only make sense on a workflow: connect, disable, schedule.
    WIRE = 3;
    /// Verbs that act on the world: email, ping, save.
    EFFECT = 4;
    /// Parts of a workflow: node, step, approval.
    FLOW = 5;
    /// Words that may mean a part of a workflow: process, alert, task.
    FLOWISH = 6;
    /// Ways to reach people: slack, sms.
    CHANNEL = 7;
    /// What a node is set to: timeout, recipient, url.
    SETTING = 8;
    /// Words for tables and their parts: rows, column, duplicates.
    TABLE = 9;
    /// Things and measures that tables hold: orders, price.
    DATUM = 10;
    /// Superlatives and aggregates: cheapest, top, average.
    RANK = 11;
    /// Comparisons: under, at least, between.
    COMPARE = 12;
    /// Arranging and grouping: sorted, by, per.
    ARRANGE = 13;
    /// What starts a question: how, which, who.
    QUESTION = 14;
    /// For ever: always, from now on.
    PERMANENT = 15;
    /// Words that are permanent only at the end or beside an action: daily, weekly.
    PERIODIC = 16;
    /// Openers of an event: when, once, as soon as.
    EVENT = 17;
    /// Openers of an event that hold for every occurrence: whenever.
    EVERY_EVENT = 18;
    /// This time only: now, just once.
    ONE_OFF = 19;
    /// not, never, without.
    NEGATION = 20;
    /// People who could be asked: someone, specialist, agent.
    PERSON = 21;
    /// Departments and professions: sales, legal, accountant.
    ROLE = 22;
    /// Verbs that hand work over: escalate, delegate.
    DELEGATE = 23;
    /// talk, speak.
    TALK = 24;
    /// Verbs that bring a person in: ask, have, let.
    INVOLVE = 25;
    /// Verbs of work that needs an expert: draft, translate, negotiate.
    EXPERT = 26;
    /// What experts work on: contract, essay, refund.
    EXPERTISE = 27;
    /// Troubles of a person: charged, locked, complaint.
    TROUBLE = 28;
    /// I, my, we, our, me.
    SELF = 29;
    /// Verbs that say nothing about the work: process, handle, improve.
    VAGUE = 30;
    /// Politeness and frames before the verb: please, could, want.
    FRAME = 31;
    /// Articles and other words that carry nothing.
    EMPTY = 32;
    /// Units of time: day, morning, monday.
    TIME = 33;
    /// Where a noun phrase ends: of, in, that, with.
    BOUNDARY = 34;
    /// before, after, between: places in a workflow or in time.
    PLACE = 35;
    /// Auxiliaries that make a passive: should be, must be, is to be.
    MODAL = 36;
    /// Verbs that end something: stop, quit.
    STOP = 37;
    /// and, or, then, but.
    CONNECT = 38;
    /// A column or node name that the facts know.
    COLUMN = 39;
    /// A node the workflow has.
    NODE = 40;
    /// A number, an amount or a date.
    NUMBER = 41;
    /// A web address.
    URL = 42;
    /// The second part of a phrase whose first word carries the class.
    INSIDE = 43;
    /// What happens: arrives, fails, drops.
    HAPPEN = 44;
    /// Leaves a place in doubt: it, this, everything.
    PRONOUN = 45;
    /// make sure that, ensure: what follows is to hold.
    ENSURE = 46;
    /// should I, how can I, would you recommend.
    ADVICE = 47;
}
