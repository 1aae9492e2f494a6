//! What editors ask for, and who presents it: nginx, to whom it belongs, and to nobody else.
//!
//! The editors are the real ones, each with a key, and reached through a real nginx by a visitor who
//! knows nginx's password alone. Where bytes are looked at, parrots stand behind nginx.

#[path = "keys/editors.rs"]
mod editors;
#[path = "keys/hidden.rs"]
mod hidden;
#[path = "keys/parrots.rs"]
mod parrots;
#[path = "keys/reached.rs"]
mod reached;
#[path = "keys/scene.rs"]
mod scene;
#[expect(dead_code, reason = "the tests of a site use more of it")]
#[path = "wire/site.rs"]
mod site;
