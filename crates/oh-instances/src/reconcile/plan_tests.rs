use super::*;
use crate::reconcile::facts::Unfit;
use crate::reconcile::strays::{Holder, Stray};
use oh_host::process::{Identity, Pid};
use oh_model::port::Port;

fn port() -> Port {
    Port::new(8888).unwrap()
}

/// An instance that is as it is wanted.
fn settled(id: &str) -> Instance {
    Instance {
        id: InstanceId::parse(id).unwrap(),
        ports: vec![port()],
        condition: Condition::Supervised(Phase::Ready),
        starter: Starter::None,
        announced: true,
        has_state: true,
        answers: true,
        is_lagging: false,
        words: Words::All,
        left: Vec::new(),
    }
}

fn stray(id: &str) -> Stray {
    Stray {
        id: id.into(),
        ports: [port()].into(),
        folders: ["/var/www/github/old".to_owned()].into(),
        unread: None,
        claims_port: true,
        is_coming: false,
        holder: Holder::Nobody,
        owner: Ok(1000),
        base: String::new(),
    }
}

fn facts(instances: Vec<Instance>, strays: Vec<Stray>) -> Facts {
    Facts {
        instances,
        strays,
        unread: Vec::new(),
        orphans: Vec::new(),
        unfit: Vec::new(),
        publishing: Publishing::Settled,
    }
}

/// What one instance calls for, as people read it; without and with `--start`.
fn said(instance: &Instance) -> (String, String) {
    let one = |start| match verdict(instance, start) {
        Verdict::Settled => "settled".to_owned(),
        Verdict::Do(step) => step.to_string(),
        Verdict::Left(why) => format!("left: {why}"),
    };
    (one(false), one(true))
}

#[track_caller]
fn expect(instance: &Instance, start_of_it: &str) {
    let (without, with) = said(instance);
    assert!(without.starts_with(start_of_it), "{without:?} is not {start_of_it:?}");
    assert_eq!(without, with);
}

#[test]
fn nothing_is_done_to_what_is_as_it_is_wanted() {
    let plan = plan(&facts(vec![settled("hello")], Vec::new()), true);
    assert!(plan.steps.is_empty() && plan.exclusions.is_empty(), "{plan:?}");
}

#[test]
fn a_start_that_was_killed_is_gone_on_with_only_where_its_editor_answers() {
    let dead = Instance { starter: Starter::Dead, announced: false, ..settled("hello") };
    expect(&dead, "serve hello: its start was not finished");
    expect(&Instance { answers: false, ..dead.clone() }, "stop hello: its start was not finished");
    let gone = Instance { answers: false, condition: Condition::Gone, ..dead.clone() };
    expect(&gone, "stop hello: its start was not finished");
    let stopping = Instance { condition: Condition::Stopping, ..dead.clone() };
    expect(&stopping, "stop hello: its stop was not finished");
    let own = Pid::own();
    expect(&Instance { starter: Starter::Lives(own), ..dead }, &format!("left: pid {own} is"));
}

#[test]
fn what_lives_is_supervised_served_and_announced() {
    let ready = settled("hello");
    let of = |condition| Instance { condition, ..settled("hello") };
    expect(&of(Condition::Unsupervised), "supervise hello");
    expect(&Instance { announced: false, ..settled("hello") }, "serve hello");
    expect(&Instance { words: Words::Some, ..settled("hello") }, "announce hello again");
    expect(&Instance { words: Words::Nothing, ..settled("hello") }, "announce hello again");
    expect(&Instance { is_lagging: true, ..ready }, "restart hello");
    let waiting = of(Condition::Supervised(Phase::Waiting { until_ms: 0 }));
    expect(&waiting, "settled");
    let unknown = Words::Unknown("a stranger's".into());
    expect(&Instance { words: unknown, ..settled("hello") }, "left: a stranger's");
}

#[test]
fn what_does_not_live_is_retired_once_and_then_named() {
    let gone = Instance { condition: Condition::Gone, ..settled("hello") };
    let (without, with) = said(&gone);
    assert!(without.starts_with("retire hello: nothing of it runs"), "{without}");
    assert!(with.starts_with("start hello: "), "{with}");
    let retired =
        Instance { announced: false, words: Words::Nothing, has_state: false, ..gone.clone() };
    assert!(said(&retired).0.starts_with("left: nothing of it runs"), "{retired:?}");
    for again in [
        Instance { announced: true, ..retired.clone() },
        Instance { words: Words::Some, ..retired.clone() },
        Instance { left: vec![Pid::own()], ..retired.clone() },
        Instance { has_state: true, ..retired },
    ] {
        assert!(said(&again).0.starts_with("retire hello"), "{again:?}");
    }
}

#[test]
fn a_failed_one_is_withdrawn_and_not_started_again() {
    let why = "it did not answer within 5 s\nthe log".to_owned();
    let condition = Condition::Supervised(Phase::Failed { why });
    let failed = Instance { condition, ..settled("hello") };
    expect(&failed, "retire hello: its supervisor gave up: it did not answer within 5 s");
    let told = Instance { announced: false, words: Words::Nothing, ..failed };
    expect(&told, "left: its supervisor gave up");
    let ended = Condition::Supervised(Phase::Ended);
    expect(&Instance { condition: ended, ..settled("hello") }, "retire hello: its editor ended");
    let stopped = Condition::Supervised(Phase::Stopped);
    let stopped = Instance { condition: stopped, ..settled("hello") };
    expect(&stopped, "retire hello: its supervisor was told to end");
}

#[test]
fn the_routes_come_last_and_only_where_something_changes() {
    let gone = Instance { condition: Condition::Gone, ..settled("b") };
    let made = plan(&facts(vec![settled("a"), gone], vec![stray("old")]), false);
    let lines: Vec<String> = made.steps.iter().map(ToString::to_string).collect();
    assert_eq!(lines.len(), 3, "{lines:#?}");
    assert!(lines[0].starts_with("retire b"), "{lines:#?}");
    assert_eq!(lines[1], "release old: nobody listens on port 8888");
    assert_eq!(lines[2], "publish the routes");
    let due = Facts { publishing: Publishing::Due, ..facts(vec![settled("a")], Vec::new()) };
    assert_eq!(plan(&due, false).steps, [Step::Publish]);
}

#[test]
fn a_torn_database_comes_first_and_available_ports_behind_what_changes_them() {
    let unfit = |database, is_torn, what: &str| Unfit {
        database,
        is_torn,
        what: what.into(),
        why: "why".into(),
    };
    let unfit = vec![
        unfit(Database::Ports, false, "availablePorts of /ports"),
        unfit(Database::Repositories, true, "/repositories"),
    ];
    let facts = Facts { unfit, ..facts(vec![settled("a")], vec![stray("old")]) };
    let made = plan(&facts, false);
    let lines: Vec<String> = made.steps.iter().map(ToString::to_string).collect();
    let expected = [
        "write anew: /repositories: why",
        "release old: nobody listens on port 8888",
        "write anew: availablePorts of /ports: why",
        "publish the routes",
    ];
    assert_eq!(lines, expected);
    assert!(objections(&facts, &made).is_ok());
}

#[test]
fn objections_find_what_no_plan_may_say() {
    let id = InstanceId::parse("hello").unwrap();
    let of = |steps| Plan { steps, exclusions: Vec::new() };
    let facts = facts(vec![settled("hello")], vec![stray("old")]);
    let count = |steps| objections(&facts, &of(steps)).err().map_or(0, |found| found.len());
    assert_eq!(count(vec![Step::Supervise(id.clone()), Step::Publish]), 0);
    assert_eq!(count(vec![Step::Supervise(id.clone()), Step::Start(id.clone())]), 1);
    assert_eq!(count(vec![Step::Release("Hello".into(), String::new())]), 1);
    assert_eq!(count(vec![Step::Publish, Step::Supervise(id)]), 1);
    assert_eq!(count(vec![Step::Start(InstanceId::parse("other").unwrap())]), 1);
    let adoption = Adoption {
        id: InstanceId::parse("old").unwrap(),
        port: port(),
        folder: oh_model::path::InRoot::parse("/var/www/github/old").unwrap(),
        uid: 1000,
        leader: Identity::own().unwrap(),
    };
    // Its port is that of an instance.
    assert_eq!(count(vec![Step::Adopt(Box::new(adoption))]), 1);
}
