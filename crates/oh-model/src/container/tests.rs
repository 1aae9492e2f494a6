use alloc::string::{String, ToString as _};
use alloc::vec;

use super::*;

fn id(digit: &str) -> String {
    digit.repeat(ID_CHARACTERS)
}

fn one(digit: &str, name: &str) -> Listed {
    let name = ContainerName::parse(name).unwrap();
    Listed { id: ContainerId::parse(&id(digit)).unwrap(), name }
}

#[test]
fn a_listing_gives_openhands_containers_and_no_others() {
    let text = [
        format!("\"{}\" \"openhands-runtime-abc\"", id("a")),
        format!("\"{}\" \"oh-agent-server-2Xz.1_b\"", id("b")),
        format!("\"{}\" \"my-openhands-runtime-abc\"", id("c")),
        format!("\"{}\" \"openhands-runtime\"", id("d")),
        format!("\"{}\" \"openhands-runtime-\"", id("e")),
        format!("\"{}\" \"postgres\"", id("f")),
        // Another container is linked to it, and knows it by a name of its own.
        format!("\"{}\" \"openhands-runtime-db,web/openhands-runtime-x\"", id("0")),
        format!("\"{}\" \"db,web/openhands-runtime-x\"", id("1")),
        String::new(),
    ];
    let expected = [
        one("0", "openhands-runtime-db"),
        one("a", "openhands-runtime-abc"),
        one("b", "oh-agent-server-2Xz.1_b"),
    ];
    assert_eq!(listed(&text.join("\n")), (expected.to_vec(), 0));
}

#[test]
fn hostile_names_are_no_names() {
    for name in [
        "openhands-runtime-$(reboot)",
        "openhands-runtime-a b",
        "openhands-runtime-a;b",
        "openhands-runtime-a/b",
        "openhands-runtime-a,openhands-runtime-b",
        "openhands-runtime-\\u001b[2J",
        "openhands-runtime-a\\nb",
        "openhands-runtime-ä",
        "--openhands-runtime-a",
        " openhands-runtime-a",
        "OPENHANDS-RUNTIME-a",
    ] {
        let text = format!("\"{}\" \"{name}\"", id("a"));
        assert_eq!(listed(&text), (Vec::new(), 0), "{name}");
    }
    let long = format!("openhands-runtime-{}", "a".repeat(NAME_CHARACTERS_MAX));
    assert_eq!(ContainerName::parse(&long), None);
}

#[test]
fn lines_of_another_form_are_counted() {
    for line in [
        "openhands-runtime-abc",
        "\"abc\" \"openhands-runtime-abc\"",
        "\"--help\" \"openhands-runtime-abc\"",
        &format!("\"{}\"", id("a")),
        &format!("\"{}\" \"openhands-runtime-abc\" \"x\"", id("a")),
        &format!("\"{}\" [\"openhands-runtime-abc\"]", id("a")),
        &format!("\"{}\" \"openhands-runtime-abc\"", id("A")),
        &format!("\"{}a\" \"openhands-runtime-abc\"", id("a")),
        "{}",
    ] {
        assert_eq!(listed(line), (Vec::new(), 1), "{line}");
    }
    assert_eq!(listed(""), (Vec::new(), 0));
}

#[test]
fn control_groups_name_the_container_of_a_process() {
    let of = |text: &str| Container::of_control_groups(text);
    let (a, b) = (id("a"), id("b"));
    let number = ContainerId::parse(&a).unwrap();
    let docker = Container { engine: Engine::Docker, id: number.clone() };
    assert_eq!(docker.stop_line(), format!("docker stop {a}"));
    let docker = Some(docker);
    let podman = Some(Container { engine: Engine::Podman, id: number });
    for (text, expected) in [
        (format!("0::/system.slice/docker-{a}.scope"), &docker),
        (format!("0::/docker/{a}"), &docker),
        (
            format!("12:pids:/docker/{a}\n11:cpu:/docker/{a}\n0::/system.slice/docker.service"),
            &docker,
        ),
        (format!("0::/docker/{a}/init.scope"), &docker),
        (format!("0::/machine.slice/libpod-{a}.scope/container"), &podman),
        (format!("0::/machine.slice/libpod-{a}.scope"), &podman),
        (format!("5:pids:/libpod_parent/libpod-{a}"), &podman),
        (format!("0::/user.slice/{a}"), &None),
        (format!("0::/docker/{a}x"), &None),
        (format!("0::/mydocker/{a}"), &None),
        (format!("0::/docker-{a}.scope.d"), &None),
        (format!("0::/docker-{}.scope", "a".repeat(12)), &None),
        ("0::/".into(), &None),
        (String::new(), &None),
        // Who may make control groups may nest them: nobody knows which one stops it.
        (format!("0::/docker/{a}/docker/{b}"), &None),
    ] {
        assert_eq!(of(&text), *expected, "{text}");
    }
}

#[test]
fn what_is_written_down_is_read_back_and_nothing_else() {
    let listed = one("a", "openhands-runtime-abc");
    let text = serde_json::to_string(&listed).unwrap();
    assert_eq!(serde_json::from_str::<Listed>(&text).unwrap(), listed);
    for (from, to) in [("aaaa", "a-a "), ("openhands-runtime-abc", "--all"), ("name", "n")] {
        let broken = text.replacen(from, to, 1);
        assert!(serde_json::from_str::<Listed>(&broken).is_err(), "{broken}");
    }
    let engines: Vec<String> = vec![Engine::Docker.to_string(), Engine::Podman.to_string()];
    assert_eq!(engines, ["docker", "podman"]);
}
