"""TrainingPipeline: decides when a run starts, who is champion, and what is kept."""
