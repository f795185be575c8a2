// The lab's workload: answers each HTTP request on :8080 with the name of the pod that answered.
package main

import (
	"fmt"
	"log"
	"net/http"
	"os"
)

func main() {
	name, err := os.Hostname()
	if err != nil {
		log.Fatal(err)
	}
	http.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, name) })
	log.Fatal(http.ListenAndServe(":8080", nil))
}
