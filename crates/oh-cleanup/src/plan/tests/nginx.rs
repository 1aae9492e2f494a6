//! Which old files for nginx go.

use oh_nginx_conf::generated::recognise;

use super::*;
use crate::facts::{GeneratedFile, Listening};

/// A file of a generator's, whole or as far as its port, and who listens there.
fn generated(id: &str, on: Option<u64>, listening: &[(Option<u32>, &str)]) -> GeneratedFile {
    let head = format!("# Auto-generated config for {id}\nlocation /vscode/{id}/ {{\n");
    let text = match on {
        Some(on) => format!("{head}    proxy_pass http://localhost:{on}/;\n}}\n"),
        None => head,
    };
    let path = format!("/etc/nginx/vscode-projects/{id}.conf");
    let told = |(one, shown): &(Option<u32>, &str)| Listening {
        pid: one.map(pid),
        shown: (*shown).to_owned(),
    };
    GeneratedFile {
        thing: Thing { uid: 0, ..thing(&path, FileKind::Regular) },
        stem: id.to_owned(),
        content: Ok(recognise(&text).unwrap()),
        listening: on
            .map(|on| (port(on), Ok(listening.iter().map(told).collect())))
            .into_iter()
            .collect(),
    }
}

fn nginx() -> Request {
    Request { kinds: Kinds { nginx: true, ..Kinds::default() }, ..all() }
}

/// The editors of `facts`, and a file for each way in which one may go or stay.
fn facts_of_nginx() -> Facts {
    let mut torn_blank = generated("blank", Some(8895), &[]);
    torn_blank.content = recognise(
        "# Auto-generated config for blank\nlocation /vscode/blank/ {\n    proxy_pass http://localhost:undefined/;\n}\n",
    )
    .map_err(|fault| fault.to_string());
    let mut foreign = generated("foreign", Some(8896), &[]);
    foreign.content = Err("it does not begin with `# Auto-generated config for`".into());
    let mut hidden = generated("hidden", Some(8897), &[]);
    hidden.listening = [(port(8897), Err("no".to_owned()))].into();
    Facts {
        leftovers: Vec::new(),
        sessions: Vec::new(),
        entries: Vec::new(),
        generated: vec![
            generated("old", Some(8889), &[(Some(200), "pid 200 (node, user ubuntu)")]),
            generated("dead", Some(8891), &[]),
            generated("other", Some(8892), &[(None, "pid 9 (nc, user ci)")]),
            torn_blank,
            generated("torn", None, &[]),
            foreign,
            hidden,
        ],
        ..facts()
    }
}

#[test]
fn a_route_goes_that_nothing_needs_which_stays() {
    assert_snapshot!(said(&facts_of_nginx(), &all()), @"
    record that hello is to be stopped
    stop    the repository hello: 3 processes (pid 100); it is ours
    stop    an editor on port 8889: 3 processes (pid 200); it is ours
    stop    what is left of an editor: 3 processes (pid 300); it is ours
    move    /etc/nginx/vscode-projects/old.conf (20B): the route /vscode/old/ to port 8889, whose editor is stopped
    move    /etc/nginx/vscode-projects/dead.conf (20B): the route /vscode/dead/ to port 8891, where nobody listens
    move    /etc/nginx/vscode-projects/blank.conf (20B): the route /vscode/blank/, without a port
    move    /etc/nginx/vscode-projects/torn.conf (20B): the route /vscode/torn/, without a port; it is torn
    have nginx test the files that are left, and read them
    move    the record of hello
    publish the routes that are left
    kept /etc/nginx/vscode-projects/foreign.conf: it does not begin with `# Auto-generated config for`
    kept /etc/nginx/vscode-projects/hidden.conf: nobody can tell who listens on port 8897: no
    kept /etc/nginx/vscode-projects/other.conf: pid 9 (nc, user ci) listens on port 8892
    ");
    // Its editor stays, so does the route; and what is torn may have been that of any that stays.
    let mut facts = facts_of_nginx();
    facts.editors[1].connections = Some(1);
    assert_snapshot!(said(&facts, &nginx()), @"
    move    /etc/nginx/vscode-projects/dead.conf (20B): the route /vscode/dead/ to port 8891, where nobody listens
    move    /etc/nginx/vscode-projects/blank.conf (20B): the route /vscode/blank/, without a port
    have nginx test the files that are left, and read them
    kept /etc/nginx/vscode-projects/foreign.conf: it does not begin with `# Auto-generated config for`
    kept /etc/nginx/vscode-projects/hidden.conf: nobody can tell who listens on port 8897: no
    kept /etc/nginx/vscode-projects/old.conf: an editor on port 8889 stays
    kept /etc/nginx/vscode-projects/other.conf: pid 9 (nc, user ci) listens on port 8892
    kept /etc/nginx/vscode-projects/torn.conf: it is torn before its port, and may have been the route to the repository hello, which stays
    ");
}

#[test]
fn the_routes_of_those_who_are_named_go() {
    let facts = facts_of_nginx();
    let named = Request { ids: ["dead".to_owned(), "torn".to_owned()].into(), ..nginx() };
    assert_snapshot!(said(&facts, &named), @"
    move    /etc/nginx/vscode-projects/dead.conf (20B): the route /vscode/dead/ to port 8891, where nobody listens
    have nginx test the files that are left, and read them
    kept /etc/nginx/vscode-projects/torn.conf: it is torn before its port, and may have been the route to the repository hello, which stays
    ");
    assert_snapshot!(said(&facts, &Request { uids: [1000].into(), ..nginx() }), @"");
    // Nobody asked for those.
    let others = Request { kinds: Kinds { nginx: false, ..Kinds::ALL }, ..all() };
    assert!(!said(&facts, &others).contains("vscode-projects"));
}

#[test]
fn a_torn_file_is_of_an_editor_that_stays_where_a_database_says_so() {
    let mut facts = facts_of_nginx();
    facts.editors[1].connections = Some(1);
    facts.generated = vec![generated("torn", None, &[]), generated("gone", None, &[])];
    facts.entries =
        vec![entry(Database::Ports, "torn", 8889), entry(Database::Ports, "gone", 8893)];
    assert_snapshot!(said(&facts, &nginx()), @"
    move    /etc/nginx/vscode-projects/gone.conf (20B): the route /vscode/gone/, without a port; it is torn
    have nginx test the files that are left, and read them
    kept /etc/nginx/vscode-projects/torn.conf: it is torn, and an editor on port 8889 stays
    ");
}

#[test]
fn a_route_of_one_that_only_claims_to_be_of_an_editor_that_ends_stays_with_its_listener() {
    // A stranger on the port of a record.
    let mut facts = facts_of_nginx();
    facts.generated = vec![
        generated("hello", Some(8888), &[(None, "pid 9 (nc, user ci)")]),
        generated("both", Some(8889), &[(Some(200), ""), (None, "pid 9 (nc, user ci)")]),
    ];
    assert_snapshot!(said(&facts, &Request { force_active: true, ..all() }), @"
    record that hello is to be stopped
    stop    the repository hello: 3 processes (pid 100); it is ours
    stop    an editor on port 8889: 3 processes (pid 200); it is ours
    stop    what is left of an editor: 3 processes (pid 300); it is ours
    move    the record of hello
    publish the routes that are left
    kept /etc/nginx/vscode-projects/both.conf: pid 9 (nc, user ci) listens on port 8889
    kept /etc/nginx/vscode-projects/hello.conf: pid 9 (nc, user ci) listens on port 8888
    ");
}

#[test]
fn what_nginx_has_not_read_is_read_by_the_next_run() {
    let facts = Facts { is_unread: true, ..Facts::default() };
    assert_snapshot!(said(&facts, &all()), @"have nginx test the files that are left, and read them");
    let temporary = Request { kinds: Kinds { temporary: true, ..Kinds::default() }, ..all() };
    assert_eq!(said(&facts, &temporary), "");
}

#[test]
fn a_file_that_changed_between_two_looks_keeps_itself_and_nothing_else() {
    let mut facts = facts_of_nginx();
    let steps = |facts: &Facts| plan(facts, &nginx()).steps;
    let before = steps(&facts);
    let dead = facts.generated[1].thing.clone();
    facts.leave_changed(std::slice::from_ref(&dead));
    let is_dead = |step: &Step| matches!(step, Step::Move(step) if step.thing == dead);
    let rest: Vec<Step> = before.iter().filter(|step| !is_dead(step)).cloned().collect();
    assert!(before.len() == rest.len() + 1 && rest.len() > 1, "{before:?}");
    assert_eq!(steps(&facts), rest);
    let kept = plan(&facts, &nginx()).exclusions;
    let kept = kept.iter().find(|one| one.subject == dead.shown()).unwrap();
    assert_eq!(kept.reason, "it was changed while it was looked at, and is uid 0's");
}
