print("smallworld")
