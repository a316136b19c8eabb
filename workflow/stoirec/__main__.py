from stoirec.cli import main

main()
