//! What happened, shown: history summed up for people, as text and as a page. Pure: rows and
//! records in, text out.

pub mod chart;
pub mod escape;
pub mod html;
pub mod region;
pub mod summary;
pub mod suspects;
pub mod tally;
pub mod text;
pub mod window;
pub mod words;

pub use escape::{Html, Plain, shell_word};
pub use summary::{Line, Named, Summary};
pub use suspects::{Suspect, Suspects};
pub use tally::{Sum, Tally};
pub use window::Window;
