//! A value as a person wrote it, before it means anything.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// A value of TOML, reduced to the shapes that our keys have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Literal {
    /// A number.
    Integer(i64),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Literal>),
}

impl Literal {
    /// Returns the value as JSON has it.
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Integer(number) => serde_json::Value::from(*number),
            Self::Text(text) => serde_json::Value::from(text.as_str()),
            Self::List(items) => items.iter().map(Self::to_json).collect(),
        }
    }

    /// Returns the value as the environment and `--set` take it: no quotes, lists with commas.
    pub(crate) fn to_argument(&self) -> String {
        match self {
            Self::Integer(number) => alloc::format!("{number}"),
            Self::Text(text) => text.clone(),
            Self::List(items) => {
                let items: Vec<_> = items.iter().map(Self::to_argument).collect();
                crate::text::join(&items, ",")
            }
        }
    }
}

impl From<&str> for Literal {
    fn from(text: &str) -> Self {
        Self::Text(String::from(text))
    }
}

/// Writes the value as TOML.
impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(number) => number.fmt(f),
            Self::Text(text) => write_text(f, text),
            Self::List(items) => {
                f.write_str("[")?;
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        f.write_str(", ")?;
                    }
                    item.fmt(f)?;
                }
                f.write_str("]")
            }
        }
    }
}

fn write_text(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_str("\"")?;
    for c in text.chars() {
        match c {
            '"' | '\\' => write!(f, "\\{c}")?,
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            _ if c.is_control() => write!(f, "\\u{:04X}", u32::from(c))?,
            _ => write!(f, "{c}")?,
        }
    }
    f.write_str("\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn a_text_is_written_so_that_toml_reads_it_back() {
        let text = "a \"b\" \\ \n\r\t\u{7}\u{7f} é";
        let written = Literal::from(text).to_string();
        assert_eq!(written, r#""a \"b\" \\ \n\r\t\u0007\u007F é""#);
        let read = toml::de::DeValue::parse(&written).unwrap();
        assert_eq!(read.get_ref().as_str(), Some(text));
    }

    #[test]
    fn a_list_is_written_for_each_reader() {
        let list = Literal::List(Vec::from([Literal::from("8080"), Literal::Integer(7)]));
        assert_eq!(list.to_string(), r#"["8080", 7]"#);
        assert_eq!(list.to_argument(), "8080,7");
        assert_eq!(list.to_json().to_string(), r#"["8080",7]"#);
    }
}
