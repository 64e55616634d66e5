//! The words the rules know, as data: one line per class, and phrases that act as one word.

use super::class::Class;

/// Words by class. A word may stand in several lines. Base forms only: endings are taken off before looking.
pub(super) const WORDS: &[(Class, &str)] = &[
    (
        Class::ASK,
        "know retrieve see lookup show list display print find get give fetch return view tell pull output \
         preview browse read grab present bring search want need dump report enumerate identify determine \
         locate",
    ),
    (
        Class::CRUNCH,
        "combine concat concatenate unify aggregate sorted ordered ranked grouped filtered aggregated sort \
         order rank filter group sum count average calculate compute total tally dedupe deduplicate join \
         merge compare extract select pick narrow limit keep exclude restrict transpose pivot flatten parse \
         round omit hide sample truncate reverse multiply divide subtract convert summarize summarise \
         cluster bucket chart plot discard tabulate estimate measure arrange trim",
    ),
    (
        Class::EDIT,
        "take draw bring allow permit migrate rework revise rewrite shift tweak amend redirect add insert \
         append remove delete drop replace rename move reorder swap put include introduce attach set change \
         update modify adjust increase decrease raise lower extend shorten bump make create build require \
         turn switch split skip edit give reduce eliminate strip duplicate place define call use alter",
    ),
    (
        Class::WIRE,
        "hook wrap plug integrate embed undo revert rollback reroute parallelise bypass reinstate connect \
         disconnect link unlink wire rewire disable enable configure schedule automate reconnect activate \
         deactivate parallelize install orchestrate unschedule pause resume retry",
    ),
    (
        Class::EFFECT,
        "warn approve sign shut reorder order open buy sell translate route dispatch deliver launch restart \
         reboot throttle mute unlock lock suspend collect ship validate verify scan score classify tag \
         label summarize summarise digest snapshot export import register subscribe unsubscribe print \
         enqueue requeue retry skip wait pause stop notify email mail ping message alert text page remind \
         call post send inform trigger run start forward archive save store upload write log sync refresh \
         publish tell tweet dm kick push invoke execute copy back backup charge cancel block reject close \
         assign create update flag recheck poll monitor watch rerun refund generate",
    ),
    (
        Class::FLOW,
        "queue digest backup workflow node step branch edge flow stage automation gate approval fallback \
         webhook schedule cron subflow checkpoint handler conditional hitl signoff subworkflow dag \
         orchestration",
    ),
    (
        Class::FLOWISH,
        "pipeline process task job alert notification trigger loop condition connection hook reminder timer \
         rule confirmation validation agent check review escalation delay wait guard message report action \
         retry summary transform filter aggregate parallel",
    ),
    (
        Class::CHANNEL,
        "slack email sms teams discord pagerduty inbox channel whatsapp telegram mail text jira zendesk \
         opsgenie",
    ),
    (
        Class::SETTING,
        "timeout retry retries recipient threshold interval method header endpoint delay concurrency \
         template subject limit backoff cron url address model prompt parameter setting config \
         configuration payload",
    ),
    (
        Class::TABLE,
        "row column record entry table data dataset item result value field line duplicate spreadsheet csv \
         cell sheet file json list blank null number name date average total sum count percentage figure \
         ratio",
    ),
    (
        Class::DATUM,
        "flight order customer product invoice user employee ticket hotel book movie student payment \
         transaction session visit city country price cost fare revenue sale amount age salary airline \
         carrier passenger quantity stock score rating grade duration distance temperature weight height \
         population region category brand shop store supplier vendor shipment delivery parcel expense \
         budget income profit margin tax discount song artist album player team game match patient doctor \
         appointment room booking reservation restaurant recipe car vehicle trip route stop station train \
         bus house apartment listing rent property candidate applicant course lesson exam article post \
         comment review like view click lead deal account subscription plan error request response server \
         device sensor reading measurement event page visitor download message word letter animal plant \
         tree river mountain department manager project task issue bug commit branch release host domain ip \
         url id status state month year quarter seller buyer member driver complaint claim policy loan bank \
         balance currency spending purchase sku warehouse hour latency zone volume size length width color \
         colour genre title author publisher language goal point medal winner asset fund share bond trade \
         seat day week mark film actor director tenant crop yield farm",
    ),
    (
        Class::RANK,
        "top bottom cheapest priciest costliest highest lowest biggest largest smallest most least fewest \
         best worst latest newest oldest earliest longest shortest fastest slowest average mean median max \
         min maximum minimum sum total count first last heaviest lightest tallest youngest nearest closest \
         farthest unique distinct busiest quickest expensive popular recent greatest richest poorest avg \
         overall per deepest strongest hottest coldest warmest percentile stddev frequency frequent",
    ),
    (
        Class::COMPARE,
        "under over above below than between exceed exceeding least more fewer greater less equal contain \
         containing starting ending where cheaper older newer larger smaller longer shorter whose younger \
         within without",
    ),
    (
        Class::ARRANGE,
        "sorted ordered ranked grouped by per ascending descending desc asc alphabetically filtered \
         aggregated",
    ),
    (Class::QUESTION, "how what whats which who whose where why hows whos"),
    (
        Class::PERMANENT,
        "always permanently automatically henceforth onwards onward anymore recurring forever constantly \
         regularly continuously",
    ),
    (
        Class::PERIODIC,
        "daily weekly hourly nightly monthly yearly quarterly mondays tuesdays wednesdays thursdays fridays \
         saturdays sundays weekdays weekends annually fortnightly",
    ),
    (Class::EVENT, "when if once after upon until unless on before"),
    (Class::EVERY_EVENT, "whenever wheneve everytime anytime"),
    (Class::ONE_OFF, "now just once today quickly temporarily currently only"),
    (Class::NEGATION, "dont not never without no doesnt cannot cant shouldnt didnt isnt wont nor avoid"),
    (
        Class::PERSON,
        "anyone whoever lawyer therapist human being folks manager boss someone somebody person agent \
         specialist expert representative rep colleague operator advisor adviser consultant professional \
         supervisor staff assistant coworker anybody guy team",
    ),
    (
        Class::ROLE,
        "sales legal billing support hr finance marketing security accounting engineering procurement \
         compliance helpdesk lawyer accountant engineer analyst developer designer manager attorney \
         recruiter technician doctor nurse translator writer researcher editor architect dba devops \
         operations ops payroll logistics boss auditor admin administrator scientist triage therapist \
         counsel paralegal moderator copywriter",
    ),
    (Class::DELEGATE, "reassign escalate delegate handoff handover transfer refer redirect"),
    (Class::TALK, "talk speak chat discuss consult converse"),
    (
        Class::INVOLVE,
        "summon call pull fetch find ask have let get involve bring loop consult contact pass hand route \
         forward assign give send reach connect put page tell leave",
    ),
    (
        Class::EXPERT,
        "refactor compose devise formulate recommend invent conceive argue proofread write draft review \
         explain debug troubleshoot diagnose advise negotiate translate fix design research investigate \
         brainstorm rewrite interpret help assist resolve propose suggest critique paraphrase code \
         implement prepare evaluate assess audit coach teach solve develop counsel appeal dispute handle \
         pitch polish clarify plan outline describe",
    ),
    (
        Class::EXPERTISE,
        "callback presentation tagline tips recommendation recommendations suggestion suggestions feedback \
         migration wedding trip resume cv insurance tax taxes speech slogan lyrics headline caption agenda \
         syllabus estimate note invitation reply answer idea ideas logo mockup unit tests test contract \
         blog essay letter strategy campaign law agreement proposal poem story code function script bug \
         query sql refund complaint password login dispute lawsuit warranty diagnosis prescription visa \
         cover press slides tutorial plan marketing regulation clause nda gdpr architecture vulnerability \
         crash legal medical symptoms pricing negotiation quote license patent copyright article email post \
         newsletter memo documentation unittest report python javascript deployment error stacktrace \
         settlement offer advice guidance opinion paragraph concept theory itinerary roadmap thesis",
    ),
    (
        Class::TROUBLE,
        "incorrect exchange forgot forgotten damaged demand waiting compensation complain unacceptable \
         outage down hacked leaked bounced flickering error blank bill charged overcharged locked broken \
         complaint refund cancel stolen wrong unhappy angry frustrated missing lost stuck upset declined \
         denied rejected crashing crash defective faulty late overdue return dispute reset unable failing \
         confused scammed fraud cancelled wont cant login password subscription upgrade downgrade \
         disappointed furious leaking twice reimburse reimbursement",
    ),
    (Class::SELF, "i im ive id my mine we our me us weve were"),
    (
        Class::VAGUE,
        "process handle do deal work improve optimize optimise fix make clean prepare manage check analyze \
         analyse go continue proceed enhance better take look try start run finish perform tidy",
    ),
    (
        Class::FRAME,
        "please pls plz can could would will you need want like love lets kindly hey hi hello so ok okay \
         also then and i id im we to me us thanks thank just now simply quickly maybe perhaps first next \
         finally actually well right should must shall may might ill wed gonna wanna looking trying able \
         good morning afternoon evening dear there help both go ahead possible wondering if hoping really \
         do pretty again today in",
    ),
    (
        Class::EMPTY,
        "the a an this that these those its his her their our my your some any all new extra additional \
         another existing current every each whole entire single old other following given same own",
    ),
    (
        Class::TIME,
        "day week month morning evening night hour minute monday tuesday wednesday thursday friday saturday \
         sunday weekday weekend year quarter noon midnight time run execution afternoon second occasion \
         release shift fortnight",
    ),
    (
        Class::BOUNDARY,
        "of in by from to where with under over above below before after that which who for so when if into \
         onto as at than between on using per while whenever until once because since via without having \
         whose and or then but through based instead is are was were has have sorted ordered grouped during \
         alphabetically",
    ),
    (Class::PLACE, "before after between ahead prior following front downstream upstream behind"),
    (Class::MODAL, "shouldnt mustnt ought should must needs need shall has have can could may"),
    (Class::STOP, "stop quit cease halt"),
    (Class::CONNECT, "and or then but plus instead rather"),
    (
        Class::HAPPEN,
        "arrive fail drop fall exceed happen finish complete succeed change rise increase land appear come \
         occur end crash break start expire reach submit receive go error upload place sign create cancel \
         update lapse overdue delay open close pay register book ship reply respond publish merge deploy \
         dip climb jump spike enter leave pass miss hit run detect return out available ready done below \
         above unpaid idle",
    ),
    (
        Class::PRONOUN,
        "it this that everything something stuff thing anything them things these those one whatever \
         nothing both",
    ),
];

/// Phrases that act as one word, separated by bars.
pub(super) const PHRASES: &[(Class, &str)] = &[
    (
        Class::PERMANENT,
        "from now on | from here on | from here on out | going forward | moving forward | in future | in \
         the future | for good | until further notice | by default | no longer | any more | from today on \
         | from this point on | on a regular basis | at all times | as of now | from tomorrow on | in \
         future runs | on every run | in every run | on each run | from then on | round the clock | on a \
         schedule | without being asked",
    ),
    (
        Class::EVERY_EVENT,
        "every time | each time | any time | as soon as | the moment | in case | in the event | in \
         response to | on every | on each | upon every | each and every time | if ever | the instant",
    ),
    (
        Class::ONE_OFF,
        "this time | right now | for now | one time | one off | just once | only once | this once | for \
         once | at the moment | as a one off | ad hoc | one last time | for today | on this occasion",
    ),
    (
        Class::CRUNCH,
        "add up | sum up | break down | narrow down | filter out | weed out | throw out | sort out | add \
         together | count up | leave out | work out | group together | whittle down | boil down | tally \
         up | total up | figure out | add all | put in order | crunch | line up",
    ),
    (
        Class::EDIT,
        "get rid of | take out | take away | set up | put in | hook up | turn off | turn on | cut out | \
         switch off | switch on | slot in | squeeze in | throw in | stick in | do away with | pull out | \
         rip out | swap out | build in | start using | bring in",
    ),
    (
        Class::EFFECT,
        "keep me posted | keep us posted | keep me informed | keep us informed | keep me updated | let me \
         know | let us know | give me a heads up | shut down | drop a line | open a ticket | give a shout",
    ),
    (Class::EXPERT, "come up with | think of | think up | walk me through | advise me | help me with"),
    (
        Class::ASK,
        "find out | i wonder | look for | search for | could i have | can i have | may i have | can i get \
         | could i get | can i see | could i see",
    ),
    (
        Class::ADVICE,
        "should i | should we | how do i | how can i | how could i | how should i | how do we | how can \
         we | what should i | would you recommend | would you advise | would you suggest | do you \
         recommend | do you suggest | what is the best way | whats the best way | best strategy | best \
         practice | best practices | is it ok to | is it safe to | is it legal | what do you think | your \
         opinion | your advice | who can help | who could help | who do i contact | who should i | whom \
         should i | whom do i | who do i | who can i | who could i | whom can i | do i need | do we need \
         | who can do | who could do",
    ),
    (Class::RANK, "how many | how much | how often | number of | amount of | how long | how far | how old"),
    (
        Class::COMPARE,
        "at least | at most | more than | less than | fewer than | greater than | no more than | not more \
         than | no less than | equal to | starts with | ends with | up to | higher than | lower than | \
         bigger than | smaller than | cheaper than | older than | newer than | longer than | shorter than \
         | other than",
    ),
    (
        Class::FLOW,
        "human in the loop | error handler | error handling | rate limit | time limit | health check | \
         manual review | human review | human approval | quality check | if else | retry policy | fan out",
    ),
    (
        Class::DELEGATE,
        "hand over | hand off | hand this | hand it | hand me over | hand me off | put me in touch | put \
         us in touch | get in touch with | pass this | pass it | pass me | put me through | connect me | \
         route this | route me | forward this | forward me | transfer me | transfer this | refer me | \
         refer this | assign this | assign it | send this to someone | loop in | bring in someone | bring \
         in a | bring in an | bring in the | kick this | bump this up | leave this to | leave it to | \
         turn this over | turn it over | give this to | take this to | raise this with | run this by | \
         run this past | get in touch | patch me through | send me to | pull in someone | reach out to | \
         get hold of | hand the | pass the | pass along | pass on",
    ),
    (
        Class::TROUBLE,
        "does not work | not working | doesnt work | cant log | cannot log | locked out | never arrived | \
         never received | my money back | money back | charged twice | can not log | still waiting | fed \
         up | no one | nobody | have a question | have questions | got a question | got questions | a \
         question about | log in | sign in | did not receive | havent received | keeps crashing | double \
         charged",
    ),
    (
        Class::FRAME,
        "i would like | would you mind | do me a favor | do me a favour | if possible | if you can | if \
         you could | when you can | when you have a minute | when you have a moment | when you get a \
         chance | would it be possible | is it possible | is there a way | as well | by the way | go \
         ahead and | be so kind | if you dont mind | of course | i was wondering | any chance | its time \
         to",
    ),
    (Class::ENSURE, "make sure | make sure that | ensure that | ensure | see to it that | see to it | be sure"),
    (Class::TABLE, "everything but | everything except | anything but | everything else | all but"),
    (
        Class::PERMANENT,
        "once a day | once a week | once a month | once a year | once a quarter | twice a day | twice a \
         week | twice a month | once per day | once per week | three times a day | once an hour | once \
         every",
    ),
    (
        Class::EVERY_EVENT,
        "as they appear | as they arrive | as they come in | as they happen | as it happens | as they \
         occur",
    ),
    (Class::FLOW.or(Class::EFFECT), "sign off"),
    (Class::EDIT, "bring back | put back"),
    (Class::EMPTY, "on call"),
    (
        Class::PRONOUN,
        "get started | getting started | get going | like last time | as last time | last time | like \
         before | as before | as usual | like always | as always | the needful | the rest | the thing | \
         your thing | the usual",
    ),
];
