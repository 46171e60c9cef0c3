"""What a program runs in: processes, launcher, signals, memory, devices, compiled programs."""
