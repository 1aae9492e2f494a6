//! All causes as a page, for docs/.

use crate::cause;

/// Writes all causes as a page in Markdown.
pub fn reference() -> String {
    let mut out = String::from(
        "# Why a WebSocket does not connect\n\n\
         The causes that `oh-wscheck` tells, from the bottom of the way to its top. `oh-wscheck --explain ID` prints \
         one. This page is generated from the table that the tool decides by.\n",
    );
    for cause in cause::ALL {
        out.push_str(&format!("\n## {}: {}\n\n{}\n\n", cause.id, cause.title, cause.why));
        out.push_str(&format!("- Seen by: {}.\n", cause.seen));
        if !cause.rules.is_empty() {
            out.push_str(&format!(
                "- The line is found by `oh-nginx lint`: {}.\n",
                cause.rules.join(", ")
            ));
        }
        out.push_str("\n```\n");
        cause.mend.iter().for_each(|line| {
            out.push_str(line);
            out.push('\n');
        });
        out.push_str("```\n");
    }
    out
}
