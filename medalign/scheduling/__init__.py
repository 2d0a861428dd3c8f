"""Which trial runs next, where, and when it ends early. The only home of Ray and Optuna; knows no method."""
