//! One file, one strategy. Files are picked up by themselves: add one, and its name works in an experiment.

automod::dir!("src/strategies");
