"""Making a blank Debian or Ubuntu server ready: one module per thing that it needs, each looks before it acts."""
