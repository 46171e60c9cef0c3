"""Callbacks of a run: functions of its events, and the writers to TensorBoard, W&B and MLflow."""
