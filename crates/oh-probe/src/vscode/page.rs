//! What the page of a workbench says.

use serde::Deserialize;

use super::{commit_of, plain};

/// What every page of a workbench has, and nothing else.
const CONFIGURATION: &str = "id=\"vscode-workbench-web-configuration\"";

/// What a page of a workbench says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The commit of its files.
    pub commit: Option<String>,
    /// The host to which the workbench connects; code-server leaves it to the browser, and says `remote`.
    pub authority: Option<String>,
    /// The path under which the server believes to be.
    pub base: Option<String>,
    /// The path of its style on the server.
    pub asset: Option<String>,
}

#[derive(Deserialize)]
struct Settings {
    #[serde(rename = "remoteAuthority")]
    authority: Option<String>,
    #[serde(rename = "serverBasePath")]
    base: Option<String>,
}

/// Reads a page; nothing, where it is no workbench's.
pub(super) fn read(text: &str) -> Option<Page> {
    let (_, rest) = text.split_once(CONFIGURATION)?;
    let settings = rest.split_once("data-settings=\"").and_then(|(_, rest)| rest.split_once('"'));
    let settings = settings.map(|(settings, _)| unescaped(settings)).unwrap_or_default();
    let settings: Option<Settings> = serde_json::from_str(&settings).ok();
    let (authority, base) =
        settings.map_or((None, None), |settings| (settings.authority, settings.base));
    let mut values = text.split('"');
    let asset = values.find(|value| value.ends_with("workbench.css")).map(str::to_owned);
    Some(Page {
        commit: commit_of(text).map(str::to_owned),
        authority: authority.as_deref().map(plain),
        base: base.as_deref().map(plain),
        asset,
    })
}

/// Reads what HTML escapes in the value of an attribute.
fn unescaped(text: &str) -> String {
    text.replace("&quot;", "\"").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_a_workbench_is_read() {
        let commit = "53c2f3253bcf32886706fc023e794bbeb253c90f";
        let page = format!(
            "<!DOCTYPE html><meta id=\"vscode-workbench-web-configuration\" data-settings=\"\
             {{&quot;remoteAuthority&quot;:&quot;oh.example:8443&quot;,&quot;serverBasePath&quot;:&quot;/vscode/a&amp;b&quot;}}\">\
             <link rel=\"stylesheet\" href=\"/vscode/a/stable-{commit}/static/out/vs/code/browser/workbench/workbench.css\">"
        );
        let read = read(&page).unwrap_or_else(|| panic!("{page}"));
        assert_eq!(read.commit.as_deref(), Some(commit));
        assert_eq!(read.authority.as_deref(), Some("oh.example:8443"));
        assert_eq!(read.base.as_deref(), Some("/vscode/a&b"));
        assert!(read.asset.is_some_and(|asset| asset.ends_with("workbench.css")));
    }

    #[test]
    fn another_page_is_none() {
        assert_eq!(read("<!doctype html><title>OpenHands</title>"), None);
        let broken = "<meta id=\"vscode-workbench-web-configuration\" data-settings=\"{\">";
        let page = read(broken);
        assert_eq!(page.map(|page| page.authority), Some(None), "it is one, and says nothing");
    }
}
