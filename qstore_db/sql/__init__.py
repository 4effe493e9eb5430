"""What this floor plugs into SQL: tables, procedures, functions and the statements about models."""
