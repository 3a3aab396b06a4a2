// compose FILE: reads a compose file by the code that Docker's own client reads it with: its schema, and that services, networks and
// volumes that are named are there.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/compose-spec/compose-go/v2/cli"
)

func main() {
	options, err := cli.NewProjectOptions(os.Args[1:2])
	if err == nil {
		project, fault := options.LoadProject(context.Background())
		if err = fault; err == nil {
			fmt.Printf("compose: %d services, as the schema says\n", len(project.Services))
			return
		}
	}
	fmt.Println(err)
	os.Exit(1)
}
