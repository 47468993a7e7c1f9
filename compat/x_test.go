package compat
import (
_ "github.com/alibabacloud-go/darabonba-openapi/v2/client"
_ "github.com/alibabacloud-go/kms-20160120/v3/client"
_ "github.com/alibabacloud-go/sts-20150401/v2/client"
_ "github.com/alibabacloud-go/tea/tea"
_ "github.com/alibabacloud-go/tea-utils/v2/service"
_ "github.com/alibabacloud-go/darabonba-openapi/v2/models"
_ "github.com/alibabacloud-go/darabonba-openapi/v2/utils"
_ "github.com/alibabacloud-go/tea/dara"
_ "github.com/aliyun/alibaba-cloud-sdk-go/services/kms"
_ "github.com/aliyun/alibaba-cloud-sdk-go/services/sts"
_ "github.com/aliyun/alibaba-cloud-sdk-go/services/ram"
_ "github.com/aliyun/alibaba-cloud-sdk-go/services/resourcemanager"
_ "github.com/aliyun/credentials-go/credentials"
_ "github.com/opensesame-kms/opensesame/sesametest"
_ "github.com/google/go-cmp/cmp"
)
