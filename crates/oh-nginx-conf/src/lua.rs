//! Where a block of Lua ends, as nginx's Lua module finds it.
//!
//! The module counts braces and passes over what in Lua is no brace: short strings with their
//! escapes, long brackets (`[[…]]`, `[=[…]=]`), and comments, short and long. Lua itself is not
//! understood here, and what the module would let through to Lua's own reader is let through.

/// Returns how many bytes the rest of a block has, with the brace that closes it; the text begins
/// behind the one that opens it. `None` where it is never closed.
pub(crate) fn block_length(text: &str) -> Option<usize> {
    let (bytes, mut at, mut open) = (text.as_bytes(), 0, 1_usize);
    while open > 0 {
        let rest = bytes.get(at..)?;
        at += match rest {
            [b'{', ..] => {
                open += 1;
                1
            }
            [b'}', ..] => {
                open -= 1;
                1
            }
            [quote @ (b'"' | b'\''), ..] => short_string(rest, *quote)?,
            [b'-', b'-', comment @ ..] => 2 + comment_length(comment)?,
            [b'[', ..] => match long_bracket_level(rest) {
                Some(level) => long_bracket(rest, level)?,
                None => 1,
            },
            [_, ..] => 1,
            [] => return None,
        };
    }
    Some(at)
}

/// The length of a string in quotes, with both of them.
fn short_string(text: &[u8], quote: u8) -> Option<usize> {
    let mut at = 1;
    loop {
        match text.get(at)? {
            // Whatever is escaped, it does not end the string.
            b'\\' => at += 2,
            byte if *byte == quote => return Some(at + 1),
            _ => at += 1,
        }
    }
}

/// The length of a comment behind its two hyphens: a long bracket, or the rest of the line.
fn comment_length(text: &[u8]) -> Option<usize> {
    if let Some(level) = long_bracket_level(text) {
        return long_bracket(text, level);
    }
    // The line break stays: it belongs to nobody.
    Some(text.iter().position(|byte| *byte == b'\n').unwrap_or(text.len()))
}

/// How many `=` stand between the two brackets that a text begins with, if it does.
fn long_bracket_level(text: &[u8]) -> Option<usize> {
    let rest = text.strip_prefix(b"[")?;
    let level = rest.iter().take_while(|byte| **byte == b'=').count();
    (rest.get(level) == Some(&b'[')).then_some(level)
}

/// The length of a long bracket of a level, from its first byte to its last.
fn long_bracket(text: &[u8], level: usize) -> Option<usize> {
    let closes = |at: &usize| {
        let rest = text.get(*at..).and_then(|rest| rest.strip_prefix(b"]"));
        let equals = |rest: &[u8]| rest.iter().take_while(|byte| **byte == b'=').count();
        rest.is_some_and(|rest| equals(rest) == level && rest.get(level) == Some(&b']'))
    };
    // Behind the two brackets that open it.
    let body = level + 2;
    (body..text.len()).find(closes).map(|at| at + level + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_brace_in_a_string_or_a_comment_is_none() {
        for block in [
            "}",
            " local a = { b = { } } }",
            " ngx.say(\"}\") }",
            " ngx.say('}') ngx.say(\"it's\") }",
            r#" ngx.say("\"}", '\'}', "\\") }"#,
            " -- } it's a comment\n }",
            " --[[ } \n ]] --[==[ ]] } ]=] ]==] }",
            " --[=x }\n }",
            " local a = [[ } ]] .. [=[ ]] } ]=] }",
            " a[b[1]] = c[1] }",
            " local a = 'é}' }",
        ] {
            let text = alloc::format!("{block} }}");
            assert_eq!(block_length(&text), Some(block.len()), "{block}");
        }
    }

    #[test]
    fn what_is_never_closed_has_no_end() {
        for block in ["", " {} ", " \"} ", " '\\'} ", " -- }", " --[[ } ", " [==[ } ]=] ", "\"\\"] {
            assert_eq!(block_length(block), None, "{block}");
        }
    }
}
