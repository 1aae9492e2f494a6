//! oh-deploy
