//! The page of a test run for a browser.
