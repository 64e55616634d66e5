//! The cues and their weights, as data. Weights were set by hand and checked on the dev set of
//! `tests/data/intents.jsonl`; `docs/intent.md` has the figures.

/// Weights towards execute, patch and handoff.
pub(super) type Weights = [f32; 3];

macro_rules! cues {
    ($($name:ident $weights:expr, $words:literal;)*) => {
        /// Something in a prompt that speaks for a lane.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Cue { $($name,)* }

        impl Cue {
            /// How much it speaks for each lane.
            pub(super) fn weights(self) -> Weights {
                match self { $(Self::$name => $weights,)* }
            }

            /// The cue in words, for the reasoning.
            pub(super) fn words(self) -> &'static str {
                match self { $(Self::$name => $words,)* }
            }
        }
    };
}

cues! {
    CrunchVerb [1.6, 0.0, 0.0], "a table operation as the verb";
    AskVerb [0.7, 0.0, 0.0], "a request to see something";
    Question [0.4, 0.0, 0.0], "a question";
    Quantity [1.3, 0.0, 0.0], "a question about a quantity";
    Exists [0.9, 0.0, 0.0], "a question whether something is there";
    Ranking [0.9, 0.0, 0.0], "a superlative or aggregate";
    Comparison [0.6, 0.0, 0.0], "a comparison";
    Arranging [0.6, 0.0, 0.0], "an order or grouping";
    Table [0.5, 0.0, 0.0], "words for a table";
    Datum [0.4, 0.0, 0.0], "things that tables hold";
    Column [0.8, 0.0, 0.0], "a column of the data";
    EditTable [1.7, 0.0, 0.0], "an edit whose object is data";
    FetchUrl [0.9, 0.0, 0.0], "data from an address";
    OneOff [0.5, -0.2, 0.0], "this time only";
    KeepWorkflow [1.1, 0.0, 0.0], "the workflow is to stay as it is";
    EditFlow [0.0, 2.6, 0.0], "an edit whose object is part of a workflow";
    EditNode [0.0, 2.2, 0.0], "an edit of a node by name";
    WireVerb [0.0, 1.3, 0.0], "a verb that only fits workflows";
    FlowNoun [0.0, 0.7, 0.0], "a part of a workflow";
    FlowPlace [0.0, 1.2, 0.0], "a place in the workflow";
    SetSetting [0.0, 2.0, 0.0], "a setting to change";
    Permanent [0.0, 1.9, 0.0], "words that make it permanent";
    Schedule [0.0, 1.7, 0.0], "a schedule";
    EveryEvent [0.0, 1.7, 0.0], "an event that may recur";
    EventAction [0.0, 1.6, 0.0], "an action that follows an event";
    EffectOnly [0.0, 0.9, 0.0], "an action on the world";
    EffectAfter [0.0, 1.8, 0.0], "an action tied to an event";
    Ensure [0.0, 1.4, 0.0], "something to be ensured";
    ActingThing [0.0, 1.5, 0.0], "a new thing that is to act";
    FlowTopic [0.0, 0.35, 0.0], "a workflow as the topic";
    Rule [0.0, 1.7, 0.0], "a rule that things must follow";
    EditPlaced [0.0, 2.0, 0.0], "something to be put before, after or between";
    Never [0.0, 1.5, 0.0], "something never to happen";
    WantPart [0.0, 2.0, 0.0], "another part of a workflow wanted";
    NearFlow [0.0, 1.0, 0.0], "an edit beside a part of a workflow";
    InsteadOf [0.0, 1.5, 0.0], "one thing to be used instead of another";
    Obligation [0.0, 1.6, 0.0], "something to become mandatory or optional";
    Incoming [0.0, 1.2, 0.0], "whatever comes in";
    FlowMade [0.0, 1.7, 0.0], "the workflow told to do something";
    Fragment [0.9, 0.0, 0.0], "a description of rows";
    Askable [0.5, 0.0, 0.0], "a question that data can answer";
    StopEffect [0.0, 2.0, 0.0], "an action that is to end";
    FlowSubject [0.0, 1.0, 0.0], "the workflow as the one that acts";
    Delegate [0.0, 0.0, 2.2], "work to be handed over";
    TalkTo [0.0, 0.0, 2.2], "somebody to talk to";
    Involve [0.0, 0.0, 2.3], "somebody to bring in";
    NeedPerson [0.0, 0.0, 1.9], "a person wanted";
    Trouble [0.0, 0.0, 1.8], "a trouble of the writer's own";
    Advice [-0.6, 0.0, 1.9], "a question for advice";
    NeedHelp [0.0, 0.0, 1.7], "help or advice wanted";
    Why [-0.5, 0.0, 1.7], "a question for reasons";
    ExpertVerb [0.0, 0.0, 1.3], "work that needs an expert";
    ExpertThing [0.0, 0.0, 0.8], "something experts work on";
    Addressee [0.0, 0.0, 0.9], "a person or department";
}
