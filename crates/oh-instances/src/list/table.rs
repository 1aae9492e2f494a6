//! The table of instances. Pure: texts in, lines of at most [`WIDTH_MAX`] columns out, but for
//! words that cannot be shortened.

/// How wide a line may be.
pub(super) const WIDTH_MAX: usize = 100;
/// How much of an id is shown at least; the whole of it stands in the line below.
const ID_WIDTH_MIN: usize = 12;
/// What stands between two columns.
const GAP: &str = "  ";
/// The names of the columns behind the id, and whether they are numbers.
const COLUMNS: [(&str, bool); COLUMN_COUNT] = [
    ("STATE", false),
    ("PORT", true),
    ("PID", true),
    ("PROC", true),
    ("CPU", true),
    ("RSS", true),
    ("PSS", true),
    ("CONN", true),
    ("UP", true),
    ("IDLE", true),
];
/// How many columns stand behind the id.
pub(super) const COLUMN_COUNT: usize = 10;

/// An instance in the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) id: String,
    /// Behind the id, as [`COLUMNS`] names them; `None` where there is nothing to say but `below`.
    pub(super) cells: Option<[String; COLUMN_COUNT]>,
    /// Lines below.
    pub(super) below: Vec<String>,
}

/// Writes the table; nothing where there is no row.
pub(super) fn table(rows: &[Row]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let cells = || rows.iter().filter_map(|row| row.cells.as_ref());
    let mut widths = COLUMNS.map(|(name, _)| width(name));
    for row in cells() {
        for (widest, cell) in widths.iter_mut().zip(row) {
            *widest = (*widest).max(width(cell));
        }
    }
    let behind: usize = widths.iter().map(|width| GAP.len() + width).sum();
    let longest = rows.iter().map(|row| width(&row.id)).max().unwrap_or_default();
    let id_width = longest.min(WIDTH_MAX.saturating_sub(behind)).max(ID_WIDTH_MIN.min(longest));
    let id_width = id_width.max(width("ID"));
    let mut lines = String::new();
    if cells().next().is_some() {
        lines.push_str(&line("ID", id_width, &COLUMNS.map(|(name, _)| name.to_owned()), &widths));
    }
    for row in rows {
        let id = shortened(&row.id, id_width);
        match &row.cells {
            Some(cells) => lines.push_str(&line(&id, id_width, cells, &widths)),
            None => lines.push_str(&format!("{id}\n")),
        }
        row.below.iter().for_each(|below| lines.push_str(&format!("  {below}\n")));
    }
    lines
}

fn line(
    id: &str,
    id_width: usize,
    cells: &[String; COLUMN_COUNT],
    widths: &[usize; COLUMN_COUNT],
) -> String {
    let mut line = padded(id, id_width, false);
    for ((cell, width), (_, is_number)) in cells.iter().zip(widths).zip(COLUMNS) {
        line.push_str(GAP);
        line.push_str(&padded(cell, *width, is_number));
    }
    format!("{}\n", line.trim_end())
}

fn padded(text: &str, wide: usize, to_the_right: bool) -> String {
    let blanks = " ".repeat(wide.saturating_sub(width(text)));
    if to_the_right { format!("{blanks}{text}") } else { format!("{text}{blanks}") }
}

/// Leaves out the middle of a text that is too long.
fn shortened(text: &str, wide: usize) -> String {
    let count = width(text);
    if count <= wide {
        return text.to_owned();
    }
    let kept = wide.saturating_sub(1);
    let begin = text.chars().take(kept.div_ceil(2));
    let end = text.chars().skip(count - kept / 2);
    begin.chain(['…']).chain(end).collect()
}

/// Ids and all other cells are ours: one column a letter.
fn width(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;

    fn row(id: &str, cells: [&str; COLUMN_COUNT], below: &[&str]) -> Row {
        Row {
            id: id.into(),
            cells: Some(cells.map(Into::into)),
            below: below.iter().map(|below| (*below).to_owned()).collect(),
        }
    }

    fn widest(table: &str) -> usize {
        table.lines().map(width).max().unwrap_or_default()
    }

    #[test]
    fn columns_are_as_wide_as_what_stands_in_them() {
        let running =
            ["running", "8888", "4121", "11", "1.2%", "312M", "210M", "2", "3h 02m", "in use"];
        let failed = ["failed", "8889", "-", "0", "-", "-", "-", "0", "-", "?"];
        let rows = [
            row("actmcp", running, &["https://oh.example/vscode/actmcp/  /var/www/github/actmcp"]),
            row("hello", failed, &["why: exit code 1"]),
            Row { id: "torn".into(), cells: None, below: vec!["its record cannot be read".into()] },
        ];
        assert_snapshot!(table(&rows), @"
        ID      STATE    PORT   PID  PROC   CPU   RSS   PSS  CONN      UP    IDLE
        actmcp  running  8888  4121    11  1.2%  312M  210M     2  3h 02m  in use
          https://oh.example/vscode/actmcp/  /var/www/github/actmcp
        hello   failed   8889     -     0     -     -     -     0       -       ?
          why: exit code 1
        torn
          its record cannot be read
        ");
        assert_eq!(table(&[]), "");
    }

    #[test]
    fn a_long_id_gives_way() {
        let cells = [
            "restarting in 30s",
            "socket",
            "4194304",
            "120",
            "1200%",
            "9.9G",
            "9.9G",
            "100",
            "99d 23h",
            "99d 23h",
        ];
        let long = "0123456789abcdef0123456789abcdef-01234567890123456789";
        let shown = table(&[row(long, cells, &[])]);
        assert!(widest(&shown) <= WIDTH_MAX, "{shown}");
        assert_snapshot!(shown, @"
        ID               STATE                PORT      PID  PROC    CPU   RSS   PSS  CONN       UP     IDLE
        0123456…3456789  restarting in 30s  socket  4194304   120  1200%  9.9G  9.9G   100  99d 23h  99d 23h
        ");
        let short = ["running", "8888", "4121", "11", "1.2%", "312M", "210M", "2", "3h 02m", "?"];
        let shown = table(&[row("0123456789abcdef01234", short, &[])]);
        assert!(shown.contains("0123456789abcdef01234  running"), "{shown}");
    }
}
