use super::*;

fn port(number: u64) -> Port {
    Port::new(number).unwrap()
}

fn member(uid: u32, line: &str) -> Member {
    let words: Vec<_> = line.split_whitespace().map(|word| word.as_bytes().to_vec()).collect();
    let command = EditorCommand::read(&words);
    Member { identity: Identity::own().unwrap(), uid: Some(uid), command }
}

/// The line of the original application.
const LINE: &str = "/usr/bin/node /usr/bin/code-server /var/www/github/old \
    --bind-addr 127.0.0.1:8888 --auth none --user-data-dir /tmp/code-server-userdata-old-8888";

fn stray(uid: u32, line: &str) -> Stray {
    let listener = member(uid, "/usr/lib/node /usr/lib/code-server/out/node/entry");
    Stray {
        id: "old".into(),
        ports: [port(8888)].into(),
        folders: ["/var/www/github/old".to_owned()].into(),
        unread: None,
        claims_port: true,
        is_coming: false,
        holder: Holder::Seen { makers: [uid].into(), members: vec![listener, member(uid, line)] },
        owner: Ok(1000),
        base: String::new(),
    }
}

#[track_caller]
fn left(stray: &Stray, why: &str) {
    match stray.fate() {
        Fate::Left(said) => assert!(said.contains(why), "{said:?} does not say {why:?}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_editor_of_the_originals_is_adopted() {
    for (uid, line) in [
        (1000, LINE.to_owned()),
        (0, LINE.to_owned()),
        (1000, LINE.replace("--bind-addr 127.0.0.1:8888", "--port=8888")),
        (1000, LINE.replace("--user-data-dir ", "--user-data-dir=")),
        (1000, LINE.replace("userdata-old-8888", "old-8888")),
        (1000, LINE.replace("userdata-old-8888", "config-8888")),
    ] {
        match stray(uid, &line).fate() {
            Fate::Adopt(adoption) => {
                assert_eq!((adoption.uid, adoption.port), (uid, port(8888)));
                assert_eq!(adoption.id.as_str(), "old");
            }
            other => panic!("{line}: {other:?}"),
        }
    }
}

#[test]
fn below_a_root_its_paths_are_below_it_too() {
    let below = LINE.replace(" /var/www", " /srv/root/var/www").replace(" /tmp", " /srv/root/tmp");
    let stray_below = |line| Stray { base: "/srv/root".into(), ..stray(1000, line) };
    assert!(matches!(stray_below(&below).fate(), Fate::Adopt(_)));
    left(&stray_below(LINE), "no editor of the original's");
    left(&stray(1000, &below), "no editor of the original's");
}

#[test]
fn what_is_not_proved_is_left_alone() {
    for (line, why) in [
        (LINE.replace("8888", "8889"), "no editor of the original's"),
        (LINE.replace("/usr/bin/code-server", "/usr/bin/other"), "no editor of the original's"),
        (LINE.replace("/tmp/code-server-userdata-old-8888", "/home/me/data"), "no editor"),
        (LINE.replace("-old-8888", "-old-18888"), "no editor of the original's"),
        (LINE.replace("userdata-old-8888", "userdata-old/x-8888"), "no editor"),
        (LINE.replace("/var/www/github/old ", "/var/www "), "opens another folder"),
        ("vim /usr/bin/code-server.conf".into(), "no editor of the original's"),
    ] {
        left(&stray(1000, &line), why);
    }
    left(&stray(1001, LINE), "its editor is uid 1001's, and its folder uid 1000's");
    let good = stray(1000, LINE);
    left(&Stray { holder: Holder::Unseen, ..good.clone() }, "is not shown");
    // A program of root's can be started by anybody with arguments and a socket of theirs: su(1).
    let Holder::Seen { members, .. } = stray(0, LINE).holder else { panic!("nobody listens") };
    let made = Holder::Seen { makers: [1001].into(), members: members.clone() };
    left(&Stray { holder: made, ..good.clone() }, "uid 1001 made the socket of its editor");
    let both = Holder::Seen { makers: [0, 1001].into(), members: members.clone() };
    left(&Stray { holder: both, ..good.clone() }, "uid 1001 made the socket of its editor");
    let mixed = members.into_iter().map(|member| Member { uid: None, ..member }).collect();
    let mixed = Holder::Seen { makers: [0].into(), members: mixed };
    left(&Stray { holder: mixed, ..good.clone() }, "has another user's rights");
    left(&Stray { owner: Err("it is a link".into()), ..good.clone() }, "it is a link");
    left(&Stray { id: "..".into(), ..good.clone() }, "its id is none");
    let two = [port(8888), port(8889)].into();
    left(&Stray { ports: two, ..good.clone() }, "several ports");
    let two = ["/var/www/github/old".to_owned(), "/srv".to_owned()].into();
    left(&Stray { folders: two, ..good.clone() }, "several folders");
    left(&Stray { unread: Some("its entry: torn".into()), ..good.clone() }, "torn");
    // Of an entry that cannot be read whole, and is not known to be dead, nothing is believed.
    let nobody = Stray { holder: Holder::Nobody, ..good.clone() };
    let partial = Stray { unread: Some("its entry: torn".into()), ..nobody };
    left(&Stray { claims_port: false, ..partial.clone() }, "torn");
    left(&Stray { holder: Holder::Unseen, ..partial.clone() }, "torn");
    left(&Stray { is_coming: true, ..partial }, "torn");
    left(&Stray { is_coming: true, holder: Holder::Nobody, ..good }, "does not listen");
}

#[test]
fn an_entry_without_a_listener_is_released() {
    let gone = Stray { holder: Holder::Nobody, ..stray(1000, LINE) };
    assert_eq!(gone.fate(), Fate::Release("nobody listens on port 8888".into()));
    let why = "its entry: `projectName` has to be a text".to_owned();
    let partial = Stray { unread: Some(why), ..gone.clone() };
    let said = "nobody listens on port 8888 (its entry: `projectName` has to be a text)";
    assert_eq!(partial.fate(), Fate::Release(said.into()));
    let none = Stray { ports: BTreeSet::new(), ..gone };
    assert!(matches!(none.fate(), Fate::Release(_)));
}
