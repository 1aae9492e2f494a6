use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::PathBuf;

use oh_host::boot::boot_id;
use oh_host::settings::{self, Wish};
use oh_model::escaped::Name;

use super::*;
use crate::step::Move;

const OLD: &str = "etc/nginx/vscode-projects";

/// A root with nothing but folders of nginx.
struct Lab {
    dir: tempfile::TempDir,
    host: Host,
}

impl Lab {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        for below in [OLD, "etc/nginx/conf.d"] {
            fs::create_dir_all(dir.path().join(below)).unwrap();
        }
        let wish = Wish::of(None, Some(dir.path().display().to_string()), Vec::new());
        Self { host: settings::find(&wish).unwrap().into_host(), dir }
    }

    fn at(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    fn thing(&self, below: &str) -> Thing {
        let path = RealPath::parse(self.at(below).to_str().unwrap()).unwrap();
        quarantine::look(&path.parent(), &Name::new(path.name()).unwrap()).unwrap().unwrap()
    }

    /// What is said against moving a thing, and whether it has changed.
    fn judged(&self, thing: Thing) -> (Vec<String>, bool) {
        let look = Look::begin(&self.host).unwrap();
        let step = Step::Move(Move {
            thing,
            what: String::new(),
            bytes: 0,
            is_more: false,
            may_change: false,
            is_session: false,
            is_of_nginx: false,
        });
        let plan = Plan { steps: vec![step], exclusions: Vec::new() };
        let guard = Guard::new(&look, boot_id().unwrap(), &Request::default());
        let root = self.dir.path().display().to_string();
        let objections = guard.objections(&plan);
        let said = objections.iter().map(|one| one.to_string().replace(&root, "")).collect();
        (said, !guard.unsteady(&plan).is_empty())
    }
}

#[test]
fn only_what_begins_as_a_generated_file_leaves_the_folders_of_nginx() {
    let lab = Lab::new();
    let (theirs, mine) = ("# Auto-generated config for x\n", "# by hand\n");
    // What one who may write there can do at any moment keeps nothing but that very file.
    for (below, text, objection, has_changed) in [
        ("a.conf", theirs, None, false),
        ("hand.conf", mine, None, true),
        ("a.txt", theirs, Some("is no left-over by its name"), false),
        ("../conf.d/a.conf", theirs, Some("is no left-over by its name"), false),
        ("../nginx.conf", theirs, Some("is no left-over by its name"), false),
    ] {
        let below = match below.strip_prefix("../") {
            Some(above) => format!("etc/nginx/{above}"),
            None => format!("{OLD}/{below}"),
        };
        fs::write(lab.at(&below), text).unwrap();
        let expected: Vec<String> =
            objection.map(|why| format!("/{below} {why}")).into_iter().collect();
        assert_eq!(lab.judged(lab.thing(&below)), (expected, has_changed));
    }
    let link = format!("{OLD}/link.conf");
    symlink(lab.at(&format!("{OLD}/a.conf")), lab.at(&link)).unwrap();
    assert_eq!(lab.judged(lab.thing(&link)), (Vec::new(), true));
    // One that is another by now is not moved.
    let changed = lab.thing(&format!("{OLD}/a.conf"));
    fs::write(lab.at(&format!("{OLD}/a.conf")), mine).unwrap();
    assert_eq!(lab.judged(changed), (Vec::new(), false));
    if rustix::process::geteuid().is_root() {
        let other = format!("{OLD}/other.conf");
        fs::write(lab.at(&other), theirs).unwrap();
        chown(lab.at(&other), Some(4242), Some(4242)).unwrap();
        let (said, _) = lab.judged(lab.thing(&other));
        assert_eq!(said, [format!("/{other} belongs to nobody of cleanup.owners")]);
    }
}
