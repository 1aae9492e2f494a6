//! Draws what a terminal showed, read from stdin, as an SVG on stdout.
//!
//! Lines that begin with `$ ` are what was typed. `scripts/picture` makes the picture of README.md
//! with it, from a real run.

use std::io::{Read as _, Write as _};

use anyhow::{Context as _, Result};

/// The size of a character's cell, in pixels.
const CELL: (usize, usize) = (8, 18);

/// The space around the text, in pixels.
const MARGIN: usize = 16;

/// The fewest columns, so that short runs look alike.
const COLUMNS_MIN: usize = 90;

fn main() -> Result<()> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).context("could not read the text")?;
    let svg = draw(&text);
    std::io::stdout().write_all(svg.as_bytes()).context("could not write the picture")
}

fn draw(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let columns = lines.iter().map(|line| line.chars().count()).max().unwrap_or(0);
    let width = columns.max(COLUMNS_MIN) * CELL.0 + 2 * MARGIN;
    let height = lines.len() * CELL.1 + 2 * MARGIN;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"a terminal\">\n\
         <rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"#16181d\"/>\n\
         <g font-family=\"ui-monospace, DejaVu Sans Mono, monospace\" font-size=\"13\">\n"
    );
    for (index, line) in lines.iter().enumerate() {
        let y = MARGIN + (index + 1) * CELL.1 - CELL.1 / 4;
        let fill = if line.starts_with("$ ") { "#9ece6a" } else { "#d5d8df" };
        let line = escaped(line);
        svg.push_str(&format!("<text x=\"{MARGIN}\" y=\"{y}\" fill=\"{fill}\">{line}</text>\n"));
    }
    svg.push_str("</g>\n</svg>\n");
    svg
}

/// Blanks are of the kind that does not break: browsers draw several others as one.
fn escaped(line: &str) -> String {
    let plain: String = line.chars().filter(|c| !c.is_control()).collect();
    let plain = plain.replace(' ', "\u{a0}");
    plain.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_typed_has_a_colour_and_markup_stays_text() {
        let svg = draw("$ a <b>\nc & d\n");
        assert!(svg.contains("fill=\"#9ece6a\">$\u{a0}a\u{a0}&lt;b&gt;</text>"), "{svg}");
        assert!(svg.contains(">c\u{a0}&amp;\u{a0}d</text>"), "{svg}");
    }
}
