//! Checks as the programs read them that watch over a site: JUnit, Nagios, Prometheus, a JSON line for each.

use std::time::Duration;

use oh_model::check::{Check, Verdict};
use serde_json::json;

/// What was checked, and when it is judged as a whole.
#[derive(Debug, Clone, Copy)]
pub struct Checked<'c> {
    /// The tool, as its command is called.
    pub tool: &'static str,
    /// What the checks are about.
    pub subject: &'c str,
    /// What came of all of them together, which begins the answer of a plugin.
    pub verdict: Verdict,
    /// The same in a line for people.
    pub summary: &'c str,
    /// Each, in their order.
    pub checks: &'c [Check],
}

impl Checked<'_> {
    /// Writes one JSON document a line, a check in each (<https://jsonlines.org>).
    pub fn json_lines(&self) -> String {
        let mut out = String::new();
        for check in self.checks {
            let line = json!({
                "tool": self.tool,
                "subject": self.subject,
                "group": check.group,
                "check": check.name,
                "verdict": check.verdict.word(),
                "said": check.said,
                "ms": check.took_us.map(ms),
                "cause": check.cause,
            });
            out.push_str(&line.to_string());
            out.push('\n');
        }
        out
    }

    /// Writes a report of JUnit, as continuous integration reads it: a test case for each check. What was not
    /// reached is skipped, and what nobody could tell is an error.
    pub fn junit(&self) -> String {
        let count = |wanted| self.checks.iter().filter(|check| check.verdict == wanted).count();
        let seconds: u64 = self.checks.iter().filter_map(|check| check.took_us).sum();
        let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
        out += &format!(
            "<testsuites>\n  <testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\" time=\"{}\">\n",
            xml(&format!("{} {}", self.tool, self.subject)),
            self.checks.len(),
            count(Verdict::Failed),
            count(Verdict::Unknown),
            count(Verdict::NotReached),
            shown_seconds(seconds)
        );
        for check in self.checks {
            let time = shown_seconds(check.took_us.unwrap_or_default());
            let (class, name, said) = (xml(&check.group), xml(&check.name), xml(&check.said));
            let cause = xml(check.cause.unwrap_or("check"));
            let inner = match check.verdict {
                Verdict::Failed => format!("<failure type=\"{cause}\" message=\"{said}\"/>"),
                Verdict::Unknown => format!("<error type=\"{cause}\" message=\"{said}\"/>"),
                Verdict::NotReached => "<skipped/>".to_owned(),
                Verdict::Passed | Verdict::Warned => format!("<system-out>{said}</system-out>"),
            };
            out += &format!(
                "    <testcase classname=\"{class}\" name=\"{name}\" time=\"{time}\">{inner}</testcase>\n"
            );
        }
        out.push_str("  </testsuite>\n</testsuites>\n");
        out
    }

    /// Writes the line of a plugin of Nagios, with the times behind the bar (monitoring-plugins.org, "Plugin Output
    /// for Nagios").
    pub fn nagios(&self) -> String {
        let times = self.checks.iter().filter_map(|check| {
            let label = label_of(check);
            Some(format!("'{label}'={}s;;;0", shown_seconds(check.took_us?)))
        });
        let times: Vec<String> = times.collect();
        let word = self.verdict.plugin_word();
        // A bar in the text would begin the times.
        let text = self.summary.replace(['|', '\n'], " ");
        format!("WS {word} - {text} | {}\n", times.join(" "))
    }

    /// Writes metrics in the text format of Prometheus, for the textfile collector of its node exporter.
    pub fn prometheus(&self) -> String {
        let prefix = self.tool.replace('-', "_");
        let subject = label_value(self.subject);
        let mut out = format!(
            "# HELP {prefix}_up Whether the check as a whole passed.\n# TYPE {prefix}_up gauge\n\
             {prefix}_up{{target=\"{subject}\"}} {}\n",
            u8::from(self.verdict.plugin_code() < 2)
        );
        let of = |check: &Check| {
            let (hop, name) = (label_value(&check.group), label_value(&check.name));
            format!("{{target=\"{subject}\",hop=\"{hop}\",check=\"{name}\"}}")
        };
        out += &format!(
            "# HELP {prefix}_check_ok Whether a check passed; one that was not reached is not there.\n\
             # TYPE {prefix}_check_ok gauge\n"
        );
        for check in self.checks.iter().filter(|check| check.verdict != Verdict::NotReached) {
            let is_ok = u8::from(check.verdict.plugin_code() < 2);
            out += &format!("{prefix}_check_ok{} {is_ok}\n", of(check));
        }
        out += &format!(
            "# HELP {prefix}_check_seconds How long a check took.\n# TYPE {prefix}_check_seconds gauge\n"
        );
        for check in self.checks {
            if let Some(took_us) = check.took_us {
                out += &format!("{prefix}_check_seconds{} {}\n", of(check), shown_seconds(took_us));
            }
        }
        if let Some(cause) = self.checks.iter().find_map(|check| check.cause) {
            out += &format!(
                "# HELP {prefix}_cause The cause that was found.\n# TYPE {prefix}_cause gauge\n\
                 {prefix}_cause{{target=\"{subject}\",cause=\"{cause}\"}} 1\n"
            );
        }
        out
    }
}

/// The time of a plugin has a label, which has no quote and no equals sign.
fn label_of(check: &Check) -> String {
    let whole = if check.group.is_empty() {
        check.name.clone()
    } else {
        format!("{}_{}", check.group, check.name)
    };
    whole.replace(['\'', '=', '|', ' '], "_")
}

fn ms(took_us: u64) -> f64 {
    Duration::from_micros(took_us).as_secs_f64() * 1000.0
}

fn shown_seconds(took_us: u64) -> String {
    format!("{}.{:06}", took_us / 1_000_000, took_us % 1_000_000)
}

/// Escapes text for XML 1.0, which has no way to write most control characters.
fn xml(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            '\t' | '\n' | '\r' => out.push(' '),
            letter if letter.is_control() || matches!(letter, '\u{fffe}' | '\u{ffff}') => {
                out.extend(letter.escape_default());
            }
            letter => out.push(letter),
        }
    }
    out
}

/// Escapes the value of a label (Prometheus, "Text-based format").
fn label_value(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, verdict: Verdict, said: &str) -> Check {
        let cause = (verdict == Verdict::Failed).then_some("UPG-1");
        let (name, said) = (name.to_owned(), said.to_owned());
        let took_us = (verdict != Verdict::NotReached).then_some(1500);
        Check { name, group: "public".to_owned(), verdict, said, took_us, cause }
    }

    #[test]
    fn what_others_said_breaks_no_format() {
        let said = "400 <b a=\"x\">'&\u{1b}|\n# TYPE x";
        let checks = [
            check("tcp", Verdict::Passed, "127.0.0.1:80"),
            check("up grade", Verdict::Failed, said),
            check("engine.io", Verdict::NotReached, ""),
        ];
        let checked = Checked {
            tool: "oh-wscheck",
            subject: "http://a\"\n/",
            verdict: Verdict::Failed,
            summary: said,
            checks: &checks,
        };
        let junit = checked.junit();
        assert!(junit.contains("tests=\"3\" failures=\"1\" errors=\"0\" skipped=\"1\""), "{junit}");
        assert!(
            junit.contains("message=\"400 &lt;b a=&quot;x&quot;&gt;&apos;&amp;\\u{1b}| # TYPE x\""),
            "{junit}"
        );
        let nagios = checked.nagios();
        assert!(nagios.starts_with("WS CRITICAL - 400 <b"), "{nagios}");
        assert_eq!((nagios.matches('|').count(), nagios.lines().count()), (1, 1), "{nagios}");
        assert!(nagios.contains("'public_up_grade'=0.001500s;;;0"), "{nagios}");
        let prometheus = checked.prometheus();
        let is_metric = |line: &str| line.starts_with('#') || line.starts_with("oh_wscheck_");
        assert!(prometheus.lines().all(is_metric), "{prometheus}");
        assert!(
            prometheus.contains("oh_wscheck_up{target=\"http://a\\\"\\n/\"} 0\n"),
            "{prometheus}"
        );
        assert!(prometheus.contains("cause=\"UPG-1\"} 1\n"), "{prometheus}");
        assert!(!prometheus.contains("check=\"engine.io\"} 0"), "{prometheus}");
        assert_eq!(checked.json_lines().lines().count(), 3);
    }
}
