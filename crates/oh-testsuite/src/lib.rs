//! oh-testsuite
