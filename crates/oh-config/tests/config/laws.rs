//! Laws of merging, and no panic whatever arrives.

use std::collections::BTreeMap;

use oh_config::{Faults, Literal, Origin, Sources, Value, load};
use proptest::prelude::*;

use super::file;

/// Makes a value of a key from any number.
type Writer = fn(u16) -> Literal;

/// Keys that never get in each other's way, with a writer of values.
const FREE: &[(&str, Writer)] = &[
    ("nginx.seen_timeout_ms", |n| Literal::Integer(100 + i64::from(n) % 1000)),
    ("sessions.sessions_max", |n| Literal::Integer(1 + i64::from(n))),
    ("sessions.app_ports", |n| {
        let ports =
            (0..n % 4).map(|i| Literal::Text((1 + u32::from(n / 4) + u32::from(i)).to_string()));
        Literal::List(ports.collect())
    }),
    ("site.domain", |n| Literal::Text(format!("h{n}.example"))),
];

/// What each layer sets, as indices into [`FREE`] with a number for the value.
type Layers = (BTreeMap<usize, u16>, BTreeMap<usize, u16>, Vec<(usize, u16)>);

fn layers() -> impl Strategy<Value = Layers> {
    let key = 0..FREE.len();
    (
        prop::collection::btree_map(key.clone(), any::<u16>(), 0..=FREE.len()),
        prop::collection::btree_map(key.clone(), any::<u16>(), 0..=FREE.len()),
        prop::collection::vec((key, any::<u16>()), 0..6),
    )
}

fn argument(literal: &Literal) -> String {
    match literal {
        Literal::Text(text) => text.clone(),
        other => other.to_string(),
    }
}

fn sources((in_file, in_environment, in_sets): &Layers) -> Sources {
    let value = |at: usize, n: u16| FREE[at].1(n);
    let text: String = in_file
        .iter()
        .map(|(at, n)| format!("toolkit.{} = {}\n", FREE[*at].0, value(*at, *n)))
        .collect();
    let name = |at: usize| format!("OHT_{}", FREE[at].0.replace('.', "__").to_uppercase());
    Sources {
        environment: in_environment
            .iter()
            .map(|(at, n)| (name(*at), argument(&value(*at, *n))))
            .collect(),
        sets: in_sets
            .iter()
            .map(|(at, n)| format!("{}={}", FREE[*at].0, argument(&value(*at, *n))))
            .collect(),
        ..file(&text)
    }
}

fn effective(sources: &Sources) -> Vec<Value> {
    load(sources).unwrap().values
}

proptest! {
    #[test]
    fn the_last_layer_wins_lists_replace_and_nothing_is_forgotten(layers in layers()) {
        let values = effective(&sources(&layers));
        for (at, (path, literal)) in FREE.iter().enumerate() {
            let value = values.iter().find(|value| value.key.path == *path).unwrap();
            let mut expected: Vec<_> = value.key.preset.literal().into_iter().collect();
            expected.extend(layers.0.get(&at).map(|n| literal(*n)));
            expected.extend(layers.1.get(&at).map(|n| literal(*n)));
            expected.extend(layers.2.iter().filter(|(key, _)| *key == at).map(|(_, n)| literal(*n)));
            let mut seen: Vec<_> = value.shadowed.iter().map(|s| s.literal.clone()).collect();
            seen.reverse();
            seen.extend(value.literal.clone());
            prop_assert_eq!(seen, expected);
            let mut origins: Vec<&Origin> = value.shadowed.iter().map(|s| &s.origin).collect();
            origins.insert(0, &value.origin);
            prop_assert!(origins.windows(2).all(|pair| pair[0] > pair[1]), "{:?}", origins);
        }
    }

    #[test]
    fn pairs_for_different_keys_commute(layers in layers()) {
        let forward = load(&sources(&layers)).unwrap().settings;
        let (in_file, in_environment, mut in_sets) = layers;
        // A stable sort keeps the order of pairs for one key.
        in_sets.sort_by_key(|(at, _)| *at);
        let mut sorted = sources(&(in_file, in_environment, in_sets));
        sorted.environment.reverse();
        prop_assert_eq!(load(&sorted).unwrap().settings, forward);
    }

    #[test]
    fn merging_is_associative(layers in layers()) {
        // First the two lower layers, their result as a file, then the upper one: the same.
        let whole = load(&sources(&layers)).unwrap();
        let below = Sources { sets: Vec::new(), ..sources(&layers) };
        let text = oh_config::show(&load(&below).unwrap());
        let above = Sources { sets: sources(&layers).sets, ..file(&text) };
        prop_assert_eq!(load(&above).unwrap().settings, whole.settings);
    }

    #[test]
    fn no_text_makes_it_panic(text in any::<String>()) {
        sane(&load(&file(&text)));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        sane(&load(&file(&String::from_utf8_lossy(&bytes))));
    }

    #[test]
    fn no_crooked_toml_makes_it_panic(pieces in prop::collection::vec(piece(), 0..24)) {
        sane(&load(&file(&pieces.concat())));
    }

    #[test]
    fn no_pair_makes_it_panic(name in "OHT_[A-Z_]{0,12}|.*", value in any::<String>(), at in 0..oh_config::KEYS.len()) {
        let key = &oh_config::KEYS[at];
        for name in [name, key.environment_name()] {
            sane(&load(&Sources { environment: vec![(name, value.clone())], ..Sources::default() }));
        }
        for set in [value.clone(), format!("{}={value}", key.path), format!("{value}=x")] {
            sane(&load(&Sources { sets: vec![set], ..Sources::default() }));
        }
    }
}

/// Pieces of TOML of which a few in a row are often nearly right.
fn piece() -> impl Strategy<Value = String> {
    let fixed = [
        "[toolkit]\n",
        "[toolkit.site]\n",
        "[[toolkit.site]]\n",
        "[toolkit.site",
        "toolkit.",
        "toolkit = ",
        "site.",
        "site",
        "domain",
        "port",
        "schema",
        "origins",
        " = ",
        "=",
        "{ ",
        " }",
        "[",
        "]",
        ",",
        ".",
        "\n",
        "\r\n",
        "\r",
        "\u{feff}",
        "\"",
        "'",
        "\"\"\"",
        "'''",
        "#",
        " ",
        "é",
        "1",
        "0x",
        "1.5",
        "-",
        "true",
        "nan",
        "2020-01-01",
        "\"x\"",
        "['8080', 1]\n",
        "\\",
        "\u{0}",
        "schema = 2\n",
        "port = 0\n",
    ];
    prop::sample::select(fixed.to_vec()).prop_map(str::to_owned)
}

/// Holds for every result: faults are there, sorted, inside the text, and printable.
fn sane(result: &Result<oh_config::Loaded, Faults>) {
    let Err(faults) = result else { return };
    assert!(!faults.0.is_empty());
    assert!(faults.0.is_sorted());
    for fault in &faults.0 {
        assert!(!fault.what.is_empty() && !fault.what.ends_with('.'), "{fault}");
        assert!(!fault.to_string().chars().any(|c| c.is_control() && c != '\n'), "{fault:?}");
        if let Origin::File { line, column, .. } = fault.origin {
            assert!(line >= 1 && column >= 1);
        }
    }
    let mut distinct = faults.0.clone();
    distinct.dedup();
    assert_eq!(distinct.len(), faults.0.len(), "{faults}");
}
